# SPDX-License-Identifier: BSD-2-Clause
"""Both ends of a connection in one process, for test_helper_stopped.py: a command a line, answered by a line of JSON.

  turns N    one byte there and back       reset    the far end is gone, with bytes of it unread
  unspec     connect(AF_UNSPEC)            again    connect() as before, which was told to be no success yet
  receive    a blocking one                anew     another connection by the same socket: its first bytes
"""
import ctypes
import errno
import json
import select
import socket
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)


def outcome(call):
    try:
        return call()
    except OSError as error:
        return errno.errorcode[error.errno]


def dissolve(end):
    nothing = struct.pack("H14x", socket.AF_UNSPEC)
    return 0 if libc.connect(end.fileno(), nothing, len(nothing)) == 0 else errno.errorcode[ctypes.get_errno()]


def connect(near, listener):
    near.setblocking(False)
    near.connect_ex(listener.getsockname())
    select.select([], [near], [], 1)
    assert near.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    near.setblocking(True)
    far = listener.accept()[0]
    for end in (near, far):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return far


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    near = socket.socket()
    far = connect(near, listener)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        command, *numbers = line.split()
        answer = "done"
        if command == "turns":
            for _ in range(int(numbers[0])):
                for one, other in ((near, far), (far, near)):
                    one.sendall(b"t")
                    assert other.recv(1) == b"t"
        elif command == "reset":
            far.sendall(b"unread")
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            far.close()
        elif command == "unspec":
            answer = dissolve(near)
        elif command == "again":
            answer = outcome(lambda: near.connect(listener.getsockname()))
        elif command == "receive":
            answer = str(outcome(lambda: near.recv(64)))
        else:
            far = connect(near, listener)
            far.sendall(b"fresh")
            answer = near.recv(64).decode()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
