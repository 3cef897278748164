# SPDX-License-Identifier: BSD-2-Clause
"""memcached_check.py PORT SECONDS: set, get, multi-get and incr over the text protocol; checks every answer.

Standard library only. Prints one JSON line: {"answers": N, "bytes": payload there and back}.
"""
import json
import random
import socket
import sys
import time

ANSWERS_LEAST = 200  # however long they take


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.counter = 0

    def set(self, key, value):
        self.socket.sendall(b"set %s 0 0 %d\r\n" % (key, len(value)) + value + b"\r\n")
        line = self.file.readline()
        assert line == b"STORED\r\n", line

    def get(self, *keys):
        self.socket.sendall(b"get " + b" ".join(keys) + b"\r\n")
        values = {}
        while True:
            words = self.file.readline().split()
            if words == [b"END"]:
                return values
            assert len(words) == 4 and words[0] == b"VALUE", words
            body = self.file.read(int(words[3]) + 2)
            assert body.endswith(b"\r\n")
            values[words[1]] = body[:-2]

    def increment(self, key):
        self.socket.sendall(b"incr %s 1\r\n" % key)
        self.counter += 1
        line = self.file.readline()
        assert line == b"%d\r\n" % self.counter, line


def check(port, seconds):
    generator = random.Random(port)
    clients = [Client(port) for _ in range(4)]
    stored, answers, payload = {}, 0, 0
    for number, client in enumerate(clients):
        client.set(b"counter:%d" % number, b"0")
    until = time.monotonic() + seconds
    while time.monotonic() < until or answers <= ANSWERS_LEAST:
        number = generator.randrange(len(clients))
        client = clients[number]
        key = b"key:%d" % generator.randrange(40)
        choice = generator.random()
        if choice < 0.3 or key not in stored:
            stored[key] = generator.randbytes(int((1 << 19) ** generator.random()))
            client.set(key, stored[key])
            payload += len(stored[key])
            answers += 1
        elif choice < 0.8:
            keys = {key, *generator.sample(sorted(stored), min(3, len(stored)))}
            values = client.get(*keys)
            assert values == {one: stored[one] for one in keys}, "wrong values"
            payload += sum(map(len, values.values()))
            answers += len(values)
        else:
            client.increment(b"counter:%d" % number)
            answers += 1
    return {"answers": answers, "bytes": payload}


if __name__ == "__main__":
    print(json.dumps(check(int(sys.argv[1]), float(sys.argv[2]))))
