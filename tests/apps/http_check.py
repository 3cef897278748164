# SPDX-License-Identifier: BSD-2-Clause
"""http_check.py PORT DIRECTORY ROUNDS: fetches every file of the directory, whole and in part, over kept-alive connections.

Compares them with the files. Standard library only. Prints one JSON line: {"answers": N, "bytes": of the bodies}.
"""
import hashlib
import http.client
import json
import random
import sys
from pathlib import Path


def fetch(connection, path, headers=()):
    connection.request("GET", path, headers=dict(headers))
    answer = connection.getresponse()
    return answer.status, answer.read()


def check(port, directory, rounds):
    generator = random.Random(port)
    connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=5) for _ in range(3)]
    files = {path.name: path.read_bytes() for path in sorted(Path(directory).iterdir())}
    hashes = {name: hashlib.sha256(data).digest() for name, data in files.items()}
    answers, payload = 0, 0
    for _ in range(rounds):
        for name, data in files.items():
            connection = generator.choice(connections)
            status, body = fetch(connection, f"/{name}")
            assert status == 200 and hashlib.sha256(body).digest() == hashes[name], f"{name}: {status}, {len(body)} bytes"
            first = generator.randrange(len(data))
            last = generator.randrange(first, len(data))
            status, part = fetch(connection, f"/{name}", {"Range": f"bytes={first}-{last}"})
            assert status == 206 and part == data[first:last + 1], f"{name} {first}-{last}: {status}"
            status, _ = fetch(connection, "/nothing-of-that-name")
            assert status == 404
            answers += 3
            payload += len(body) + len(part)
    return {"answers": answers, "bytes": payload}


if __name__ == "__main__":
    print(json.dumps(check(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
