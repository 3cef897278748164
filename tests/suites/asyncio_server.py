# SPDX-License-Identifier: BSD-2-Clause
"""asyncio_server.py: an echo server of asyncio's streams, an HTTP server of http.server with a thread a connection; prints their ports."""
import asyncio
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):  # noqa: N802
        self.answer(b"0123456789abcdef" * (int(self.path[1:]) // 16))

    def do_POST(self):  # noqa: N802
        self.answer(hashlib.sha256(self.rfile.read(int(self.headers["Content-Length"]))).hexdigest().encode())


async def echo(reader, writer):
    while data := await reader.read(10000):
        writer.write(data)
        await writer.drain()
    writer.close()


async def main():
    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    print("ports", web.server_address[1], server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
