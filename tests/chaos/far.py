# SPDX-License-Identifier: BSD-2-Clause
"""A connection that a child program gets at a number far from all others (pass_fds), and how it receives there.

  far.py FD       a pair; the child reads ten records of two pieces, with MSG_WAITALL, under a timer whose handler restarts calls:
                  {"again": receives that ended with EAGAIN}
"""
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time

RECORDS, TURNS, RECORD = 10, 40, b"0123456789abcdefghij"


def take_records(end):
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.siginterrupt(signal.SIGALRM, False)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    again = 0
    for _ in range(RECORDS):
        record = b""
        while len(record) < len(RECORD):
            try:
                record += end.recv(len(RECORD) - len(record), socket.MSG_WAITALL)
            except BlockingIOError:
                again += 1
        assert record == RECORD
        end.sendall(b"ok")
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps({"again": again}))


def give_records(address):
    peer = socket.create_connection(address)
    for _ in range(TURNS):
        peer.sendall(b"x")
        peer.recv(1)
    for _ in range(RECORDS):
        time.sleep(0.03)
        peer.sendall(RECORD[:10])
        time.sleep(0.03)
        peer.sendall(RECORD[10:])
        peer.recv(2)


def main():
    number = int(sys.argv[1])
    if len(sys.argv) > 2:
        return take_records(socket.socket(fileno=number))
    listener = socket.create_server(("127.0.0.1", 0))
    if os.fork() == 0:
        give_records(listener.getsockname())
        os._exit(0)
    end, _ = listener.accept()
    for _ in range(TURNS):
        end.recv(1)
        end.sendall(b"y")
    far = fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, number)
    end.close()
    listener.close()
    return subprocess.run([sys.executable, __file__, str(far), "child"], pass_fds=[far], check=True)


if __name__ == "__main__":
    main()
