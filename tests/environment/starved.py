# SPDX-License-Identifier: BSD-2-Clause
"""A slow reader in a cgroup whose TCP memory is limited, and a sender that fills it.

  starved.py TASKS KIND     TASKS: the cgroup's file that the reader writes itself to. KIND: whole, nonblocking, sendfile, timeout

Prints what the sender was told, as JSON: errors, sends that were cut short, whether all came as it was sent.
"""
import errno
import hashlib
import json
import os
import select
import socket
import struct
import sys
import tempfile
import time

TURNS, TURN_BYTES = 60, 100
CHUNK, TOTAL = 1 << 16, 6 << 20
SLOW_UNTIL, SLOW_S = 2 << 20, 0.005


def read_slowly(listener, tasks, told):
    with open(tasks, "w") as file:  # first: a socket belongs to the cgroup of who accepts it
        file.write(str(os.getpid()))
    connection = listener.accept()[0]
    listener.close()
    for _ in range(TURNS):
        connection.sendall(connection.recv(TURN_BYTES))
    digest, count = hashlib.sha256(), 0
    while data := connection.recv(CHUNK):
        digest.update(data)
        count += len(data)
        if count < SLOW_UNTIL:
            time.sleep(SLOW_S)
    os.write(told, digest.digest())


def send_all(connection, kind, file):
    """Errors by name, and how many sends were cut short."""
    data, done, errors, short = memoryview(file.read()), 0, {}, 0
    while done < TOTAL:
        try:
            piece = data[done % len(data):][:CHUNK]
            sent = os.sendfile(connection.fileno(), file.fileno(), done % len(data), len(piece)) if kind == "sendfile" else connection.send(piece)
            short += sent < len(piece) and kind == "whole"
            done += sent
        except BlockingIOError:
            select.select([], [connection], [], 10)
        except OSError as error:
            name = errno.errorcode[error.errno]
            errors[name] = errors.get(name, 0) + 1
            if sum(errors.values()) > 50:
                break
            time.sleep(0.002)
    return errors, short, hashlib.sha256(b"".join([data] * (TOTAL // len(data)))).digest()


def main(tasks, kind):
    listener = socket.create_server(("127.0.0.1", 0))
    hear, tell = os.pipe()
    if not os.fork():
        read_slowly(listener, tasks, tell)
        os._exit(0)
    os.close(tell)
    connection = socket.create_connection(listener.getsockname())
    for _ in range(TURNS):
        connection.sendall(bytes(TURN_BYTES))
        connection.recv(TURN_BYTES, socket.MSG_WAITALL)
    if kind == "nonblocking":
        connection.setblocking(False)
    elif kind == "timeout":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 20, 0))
    with tempfile.TemporaryFile() as file:
        file.write(os.urandom(1 << 20))
        file.seek(0)
        errors, short, digest = send_all(connection, kind, file)
    connection.close()
    print(json.dumps({"errors": errors, "short": short, "whole": os.read(hear, 100) == digest}))
    os.wait()


main(*sys.argv[1:])
