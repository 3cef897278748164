# SPDX-License-Identifier: BSD-2-Clause
"""A server that accelerates a connection, leaves it to a forked child, and then has others.

  inherited.py server N     prints its port; the child serves the first connection, threads of the parent the N others
  inherited.py client PORT  ready: {}; a command a line: `turns N` of the first connection, `open N` others, `others N`
"""
import json
import os
import socket
import sys
import threading

FIRST_TURNS = 200


def serve(end):
    while data := end.recv(64):
        end.sendall(data)


def server(others):
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(json.dumps(listener.getsockname()[1]), flush=True)
    first = listener.accept()[0]
    for _ in range(FIRST_TURNS):
        first.sendall(first.recv(64))
    if os.fork() == 0:
        listener.close()
        serve(first)
        os._exit(0)
    first.close()
    for _ in range(others):
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
    threading.Event().wait(60)


def turn(end):
    end.sendall(b"turn")
    assert end.recv(64) == b"turn"


def client(port):
    first, others = socket.create_connection(("127.0.0.1", port)), []
    for _ in range(FIRST_TURNS):
        turn(first)
    print("{}", flush=True)
    for line in sys.stdin:
        command, count = line.split()
        for _ in range(int(count)):
            if command == "open":
                others.append(socket.create_connection(("127.0.0.1", port)))
            for end in {"turns": [first], "open": others[-1:], "others": others}[command]:
                turn(end)
        print("{}", flush=True)


if __name__ == "__main__":
    {"server": server, "client": client}[sys.argv[1]](int(sys.argv[2]))
