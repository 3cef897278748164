# SPDX-License-Identifier: BSD-2-Clause
"""A process with both ends of its connections, that closes the library's door to the helper behind its back.

  ready    the answer to commands: {}
  open N   N connections, with a few turns on each
  close    the door, past the wrappers: by the function of libc itself
"""
import ctypes
import os
import socket
import sys

LIBRARY_FDS = 1000  # from there on; the door is the first


def main():
    listener, libc = socket.create_server(("127.0.0.1", 0), backlog=16), ctypes.CDLL("libc.so.6")
    ends = []
    print("{}", flush=True)
    for line in sys.stdin:
        command, *count = line.split()
        if command == "close":
            door = min(int(fd) for fd in os.listdir("/proc/self/fd") if int(fd) >= LIBRARY_FDS)
            assert libc.close(door) == 0
        for _ in range(int(count[0]) if count else 0):
            ends += [socket.create_connection(listener.getsockname()), listener.accept()[0]]
            for _ in range(20):
                ends[-1].sendall(b"there")
                ends[-2].sendall(ends[-2].recv(64) and b"back")
                ends[-1].recv(64)
        print("{}", flush=True)


if __name__ == "__main__":
    main()
