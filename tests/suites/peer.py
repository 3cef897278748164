# SPDX-License-Identifier: BSD-2-Clause
"""peer.py server | client PORT SIZE RELEASE: requests and answers, streams of SIZE bytes in each direction and in both at once,
half-close from each side, as go_peer.go speaks it.

The client prints "held" before its last turns, on the connection that it has had from the beginning, and waits for a file RELEASE;
then one line of JSON: what it sent and what came.
"""
import hashlib
import json
import os
import socket
import struct
import sys
import threading
import time

PIECE = 65536
TURNS = 300
SIZES = (1, 64, 1000, 1460, 16384, 100003)
BLOCK = bytes((i * 7 + (i >> 8)) % 256 for i in range(PIECE))


def pieces(size):
    """The bytes of a stream: pieces that begin with their number."""
    for at in range(0, size, PIECE):
        yield (struct.pack(">Q", at // PIECE) + BLOCK[8:])[:size - at]


def send(connection, size):
    for piece in pieces(size):
        connection.sendall(piece)


def checksum(connection, limit=None):
    """Of the next `limit` bytes, or of all until the end."""
    total, sha = 0, hashlib.sha256()
    while limit is None or total < limit:
        data = connection.recv(PIECE if limit is None else min(PIECE, limit - total))
        if not data:
            break
        sha.update(data)
        total += len(data)
    return f"{sha.hexdigest()} {total}"


def receive(connection, size):
    data = bytearray()
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            return None
        data += more
    return bytes(data)


def read_message(connection):
    length = receive(connection, 4)
    return receive(connection, struct.unpack(">I", length)[0]) if length else None


def write_message(connection, message):
    connection.sendall(struct.pack(">I", len(message)) + message)


def rest(connection):
    parts = []
    while part := connection.recv(PIECE):
        parts.append(part)
    return b"".join(parts)


def serve(connection):
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            return  # nothing but a look whether the port answers
        line += byte
    verb, size = line.decode().split()
    if verb == "echo":
        while (message := read_message(connection)) is not None:
            write_message(connection, message)
    elif verb == "put":
        connection.sendall(checksum(connection).encode() + b"\n")
    elif verb == "get":
        send(connection, int(size))
        connection.shutdown(socket.SHUT_WR)
        assert rest(connection) == b"done"
    elif verb == "both":
        sender = threading.Thread(target=send, args=(connection, int(size)))
        sender.start()
        answer = checksum(connection)
        sender.join()
        connection.sendall(answer.encode() + b"\n")
    connection.close()


def server():
    listener = socket.create_server(("127.0.0.1", 0))
    print("port", listener.getsockname()[1], flush=True)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def ask(port, verb, size=0):
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(f"{verb} {size}\n".encode())
    return connection


def echo(connection, count):
    total = 0
    for turn in range(count):
        message = bytes([turn % 256]) + b"".join(pieces(SIZES[turn % len(SIZES)]))[1:]
        sender = threading.Thread(target=write_message, args=(connection, message))
        sender.start()
        answer = read_message(connection)
        sender.join()
        assert answer == message, f"turn {turn}"
        total += len(answer)
    return total


def client(port, size, release):
    kept = ask(port, "echo")
    echoed = echo(kept, TURNS)
    with ask(port, "put", size) as connection:
        send(connection, size)
        connection.shutdown(socket.SHUT_WR)
        put = rest(connection).decode().strip()
    with ask(port, "get", size) as connection:
        got = checksum(connection)
        connection.sendall(b"done")
    with ask(port, "both", size) as connection:
        def send_all():
            send(connection, size)
            connection.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send_all)
        sender.start()
        half = checksum(connection, size)
        sender.join()
        both = [half, rest(connection).decode().strip()]
    print("held", flush=True)
    deadline = time.monotonic() + 60
    while not os.path.exists(release) and time.monotonic() < deadline:
        time.sleep(0.01)
    echoed += echo(kept, TURNS)
    kept.close()
    print(json.dumps({"echoed": echoed, "put": put, "get": got, "both": both}))


if __name__ == "__main__":
    if sys.argv[1] == "server":
        server()
    client(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
