# SPDX-License-Identifier: BSD-2-Clause
"""redis_check.py PORT SECONDS: SETs and GETs random values, one by one and pipelined; checks every answer.

Standard library only. Prints one JSON line: {"answers": N, "bytes": payload there and back}.
"""
import json
import random
import socket
import sys
import time

ANSWERS_LEAST = 200  # however long they take


class Resp:
    """As much of RESP as the check needs."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def send(self, *commands):
        out = bytearray()
        for words in commands:
            out += b"*%d\r\n" % len(words)
            for word in words:
                out += b"$%d\r\n%s\r\n" % (len(word), word)
        self.socket.sendall(out)

    def answer(self):
        line = self.file.readline()
        assert line.endswith(b"\r\n"), f"end of file or half a line: {line!r}"
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            size = int(rest)
            if size < 0:
                return None
            body = self.file.read(size + 2)
            assert len(body) == size + 2 and body[-2:] == b"\r\n"
            return body[:-2]
        assert kind in b"+:", f"answer: {line!r}"
        return rest if kind == b"+" else int(rest)


def check(port, seconds):
    generator = random.Random(port)
    clients = [Resp(port) for _ in range(4)]
    stored, answers, payload = {}, 0, 0
    until = time.monotonic() + seconds
    while time.monotonic() < until or answers <= ANSWERS_LEAST:
        client = generator.choice(clients)
        batch = [b"key:%d" % generator.randrange(200) for _ in range(generator.choice([1, 1, 10, 60]))]
        limit = 1 << (20 if len(batch) == 1 else 13)
        expected, commands = [], []
        for key in batch:
            if generator.random() < 0.4 or key not in stored:
                stored[key] = generator.randbytes(int(limit ** generator.random()))
                commands.append((b"SET", key, stored[key]))
                expected.append(b"OK")
            else:
                commands.append((b"GET", key))
                expected.append(stored[key])
            payload += len(stored[key])
        client.send(*commands)
        for wanted in expected:
            got = client.answer()
            assert got == wanted, f"an answer of {len(got or b'')} bytes instead of {len(wanted)}"
            answers += 1
    return {"answers": answers, "bytes": payload}


if __name__ == "__main__":
    print(json.dumps(check(int(sys.argv[1]), float(sys.argv[2]))))
