# SPDX-License-Identifier: BSD-2-Clause
"""asyncio_client.py WEB ECHO ROUNDS: requests with a kept-alive session, asyncio streams; checks all, prints {"answers", "bytes"}."""
import asyncio
import hashlib
import json
import random
import sys

import requests


def ask(port, rounds):
    session = requests.Session()
    for number in range(rounds):
        size = [16, 4096, 65536, 1 << 20][number % 4]
        body = session.get(f"http://127.0.0.1:{port}/{size}", timeout=20).content
        assert body == b"0123456789abcdef" * (size // 16)
        answer = session.post(f"http://127.0.0.1:{port}/", data=body, timeout=20)
        assert answer.text == hashlib.sha256(body).hexdigest()
        yield size


async def echo(port, seed, size):
    data = random.Random(seed).randbytes(size)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send():
        for first in range(0, size, 7001):
            writer.write(data[first:first + 7001])
            await writer.drain()
        writer.write_eof()
    sending = asyncio.create_task(send())
    assert await reader.read() == data
    await sending
    writer.close()
    return 2 * size


async def many(port, rounds):
    return sum(await asyncio.gather(*(echo(port, seed, 20000 * seed + 1) for seed in range(rounds))))


web, raw, count = map(int, sys.argv[1:4])
sizes = list(ask(web, count))
print(json.dumps({"answers": 2 * len(sizes), "bytes": 2 * sum(sizes) + asyncio.run(many(raw, min(count, 60)))}))
