# SPDX-License-Identifier: BSD-2-Clause
"""A server that becomes another program, without the shim, with its connections: handing_over.py COUNT. Commands:

  turns N         N turns on each connection: {}
  exec            the server executes the program: {} when that runs
  send            each of its peers sends in two parts what it receives with MSG_WAITALL: {"whole": on so many connections it was all}
"""
import json
import os
import socket
import sys
import time

PART = 100
COUNT = int(sys.argv[1])
PROGRAM = f"""
import os, socket, sys
gate, answers, *fds = map(int, sys.argv[1:])
ends = [socket.socket(fileno=fd) for fd in fds]
os.write(answers, b"r")
os.write(answers, sum(len(end.recv({2 * PART}, socket.MSG_WAITALL)) == {2 * PART} for end in ends).to_bytes(2, "big"))
"""


def serve(listener_port, gate, answers):
    ends = [socket.create_connection(("127.0.0.1", listener_port)) for _ in range(COUNT)]
    while os.read(gate, 1) == b"t":
        for end in ends:
            end.sendall(end.recv(64))
    fds = [end.fileno() for end in ends]
    for fd in [gate, answers, *fds]:
        os.set_inheritable(fd, True)
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    os.execve(sys.executable, [sys.executable, "-SE", "-c", PROGRAM, *map(str, [gate, answers, *fds])], environment)


def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=COUNT)
    gate, commands = os.pipe()
    told, answers = os.pipe()
    if os.fork() == 0:
        serve(listener.getsockname()[1], gate, answers)
    ends = [listener.accept()[0] for _ in range(COUNT)]
    print("{}", flush=True)
    for line in sys.stdin:
        command, *argument = line.split()
        answer = {}
        if command == "turns":
            for _ in range(int(argument[0])):
                os.write(commands, b"t")
                for end in ends:
                    end.sendall(b"turn")
                for end in ends:
                    end.recv(64)
        elif command == "exec":
            os.write(commands, b"x")
            os.read(told, 1)
        else:
            for end in ends:
                end.sendall(b"1" * PART)
                time.sleep(0.001)
                end.sendall(b"2" * PART)
            answer = {"whole": int.from_bytes(os.read(told, 2), "big")}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
