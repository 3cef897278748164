# SPDX-License-Identifier: BSD-2-Clause
"""A process that ends with bytes unread on many connections: how long that takes, and what their peers see.

  ready           the peers' answer to commands: {}
  fork 1          the other process forks a child, which ends: {}
  child 1         the other process forks a child, which goes on in its place: {}
  turns N         N turns on each connection: {}
  end exit|close|read-first
                  sends bytes that are not read, read-first: but for the first connection; the other process ends, or closes and then ends:
                  {"ms": until it was gone, "errors": how many peers saw a reset}
"""
import errno
import json
import os
import socket
import sys
import time

CONNECTIONS = 12


def serve_child(listener_port, gate):
    """What the gate says: t a turn on each connection, f fork, h hand over to a child, x _exit, c close first."""
    ends = [socket.create_connection(("127.0.0.1", listener_port)) for _ in range(CONNECTIONS)]
    while True:
        what = os.read(gate, 1)
        if what == b"t":
            for end in ends:
                end.sendall(end.recv(64))
            continue
        if what == b"f":
            if os.fork() == 0:
                os._exit(0)
            os.wait()
            continue
        if what == b"h":
            closed, closes = os.pipe()
            child = os.fork()
            if child:
                for end in ends:
                    end.close()
                os.close(closes)
                os.waitpid(child, 0)
                os._exit(0)
            os.close(closes)
            os.read(closed, 1)
            continue
        if what == b"c":
            for end in ends:
                end.close()
        os._exit(0)


def saw_reset(end):
    try:
        end.recv(64)
        return False
    except OSError as error:
        return error.errno == errno.ECONNRESET


def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS)
    gate, commands = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(commands)
        serve_child(listener.getsockname()[1], gate)
    ends = [listener.accept()[0] for _ in range(CONNECTIONS)]
    print("{}", flush=True)
    for line in sys.stdin:
        command, argument = line.split()
        if command == "turns":
            for _ in range(int(argument)):
                os.write(commands, b"t")
                for end in ends:
                    end.sendall(b"turn")
                for end in ends:
                    end.recv(64)
            print("{}", flush=True)
            continue
        if command in ("fork", "child"):
            os.write(commands, b"f" if command == "fork" else b"h")
            print("{}", flush=True)
            continue
        for end in ends[argument == "read-first":]:
            end.sendall(b"unread")
        began = time.monotonic()
        os.write(commands, b"x" if argument == "exit" else b"c")
        os.waitpid(child, 0)
        ms = (time.monotonic() - began) * 1000
        print(json.dumps({"ms": ms, "errors": sum(saw_reset(end) for end in ends)}), flush=True)


if __name__ == "__main__":
    main()
