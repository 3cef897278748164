# SPDX-License-Identifier: BSD-2-Clause
"""One end of a connection: lent.py PORT. Says what it is once it is connected, {"inode": N}, and does what it is told, answering {}:

  unread      waits until bytes are there, and leaves them
  urgent      waits for an urgent byte, and leaves it
  linger      SO_LINGER with 0
  receiver    another thread waits in a receive
  watched     in an epoll instance, and with O_ASYNC
  doubled     in an epoll instance as a duplicate, which is closed
  close       closes it
  told        whether epoll, or SIGIO, has told of anything since: {"events": [...], "signals": N}
  exit, _exit ends, with it open; no answer
"""
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path


def start_receiver(end):
    thread = threading.Thread(target=end.recv, args=(64,), daemon=True)
    thread.start()
    call = Path(f"/proc/self/task/{thread.native_id}/syscall")
    while call.read_text().split()[1:2] != [hex(end.fileno())]:
        time.sleep(0.001)


class Watch:
    def __init__(self):
        self.epoll, self.signals = select.epoll(), 0

    def start(self, end):
        self.epoll.register(end, select.EPOLLIN | select.EPOLLRDHUP)
        signal.signal(signal.SIGIO, self.count)
        fcntl.fcntl(end, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(end, fcntl.F_SETFL, fcntl.fcntl(end, fcntl.F_GETFL) | os.O_ASYNC)

    def start_doubled(self, end):
        with end.dup() as double:
            self.epoll.register(double, select.EPOLLIN | select.EPOLLRDHUP)

    def count(self, *_):
        self.signals += 1

    def told(self):
        return {"events": self.epoll.poll(0.1), "signals": self.signals}


def main():
    watch = Watch()
    end = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    print(json.dumps({"inode": os.fstat(end.fileno()).st_ino}), flush=True)
    for line in sys.stdin:
        command = line.strip()
        if command == "unread":
            select.select([end], [], [], 5)
        elif command == "urgent":
            select.select([], [], [end], 5)
        elif command == "receiver":
            start_receiver(end)
        elif command == "linger":
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif command == "watched":
            watch.start(end)
        elif command == "doubled":
            watch.start_doubled(end)
        elif command == "close":
            end.close()
        elif command == "told":
            print(json.dumps(watch.told()), flush=True)
            continue
        elif command == "exit":
            sys.exit()
        elif command == "_exit":
            os._exit(0)
        print("{}", flush=True)


if __name__ == "__main__":
    main()
