# SPDX-License-Identifier: BSD-2-Clause
"""A receive with MSG_WAITALL that begins while another thread is in close() on the number: {"ready": true} once the connection redirects, then,
after a line of input, {"bytes": what came}. The close waits for the helper, because a child has the connection, too."""
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time

TURNS = 300
PAUSE_EVERY = 50
PIECES = [b"x" * 100, b"abcd", b"y" * 100]  # the second is redirected, where what is longer passes
GAP_S = 0.005  # between them: each comes by itself

libc = ctypes.CDLL(None, use_errno=True)
listener = socket.create_server(("127.0.0.1", 0))
sender = socket.create_connection(listener.getsockname())
receiver, _ = listener.accept()
sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for turn in range(TURNS):
    for a, b in ((sender, receiver), (receiver, sender)):
        a.send(b"t")
        b.recv(1)
    if turn % PAUSE_EVERY == 0:
        time.sleep(0.02)
child = os.fork()
if child == 0:
    signal.pause()
print(json.dumps({"ready": True}), flush=True)
sys.stdin.readline()
number = receiver.detach()


def send():
    time.sleep(4 * GAP_S)
    for piece in PIECES:
        try:
            sender.send(piece)
        except OSError:  # closed already
            return
        time.sleep(GAP_S)


threads = [threading.Thread(target=send), threading.Thread(target=os.close, args=(number,))]
for thread in threads:
    thread.start()
time.sleep(2 * GAP_S)
buffer = ctypes.create_string_buffer(200)
got = libc.recv(number, buffer, len(buffer), socket.MSG_WAITALL)
for thread in threads:
    thread.join()
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
print(json.dumps({"bytes": buffer.raw[:max(got, 0)].decode(), "error": ctypes.get_errno()}), flush=True)
