# SPDX-License-Identifier: BSD-2-Clause
"""closed_in_step.py send|recv|sendmmsg|recvmmsg: a call that begins with the join of its end, for which the helper is stopped, while another thread
closes the fd. {"ready": true} before the call; after a line of input {"result": the call's bytes, "error": errno, "took_ms": how long it
took, "peer": what that receives}."""
import ctypes
import json
import os
import socket
import sys
import threading
import time

CLOSE_AFTER_S = 0.015  # a join is waited for 50 ms
UNTIL_MATCHED_S = 0.03
PEER_S = 1

what = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
listener = socket.create_server(("127.0.0.1", 0))


def pair_after(turns, pause_s):
    peer = socket.create_connection(listener.getsockname())
    own, _ = listener.accept()
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(turns):
        for a, b in ((peer, own), (own, peer)):
            a.send(b"t")
            b.recv(1)
        time.sleep(pause_s)
    return peer, own


others = pair_after(20, 0.002)  # so that the process has its session with the helper
peer, own = pair_after(2, 0)  # both have offered
peer.send(b"abcd")
time.sleep(UNTIL_MATCHED_S)
print(json.dumps({"ready": True}), flush=True)
sys.stdin.readline()
number, seen = own.detach(), {}
buffer = ctypes.create_string_buffer(b"efgh", 4)


class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("bytes", ctypes.c_size_t)]


class Message(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("name_bytes", ctypes.c_uint), ("vector", ctypes.c_void_p), ("count", ctypes.c_size_t),
                ("control", ctypes.c_void_p), ("control_bytes", ctypes.c_size_t), ("flags", ctypes.c_long), ("bytes", ctypes.c_uint)]


def make_call():
    if not what.endswith("mmsg"):
        return getattr(libc, what)(number, buffer, len(buffer), 0)
    halves = [Vector(ctypes.addressof(buffer) + at, 2) for at in (0, 2)]
    messages = (Message * 2)(*[Message(vector=ctypes.addressof(half), count=1) for half in halves])
    done = getattr(libc, what)(number, messages, 2, 0, *[None] * (what == "recvmmsg"))
    return sum(one.bytes for one in messages[:done]) if done > 0 else done


def call():
    begun = time.monotonic()
    result = make_call()
    seen.update(result=result, error=ctypes.get_errno() if result < 0 else 0, took_ms=(time.monotonic() - begun) * 1000)


def seen_by_peer():
    peer.settimeout(PEER_S)
    try:
        return peer.recv(8).decode()
    except OSError as error:
        return type(error).__name__


thread = threading.Thread(target=call)
thread.start()
time.sleep(CLOSE_AFTER_S)
os.close(number)
thread.join()
print(json.dumps({**seen, "peer": [seen_by_peer(), seen_by_peer()]}), flush=True)
