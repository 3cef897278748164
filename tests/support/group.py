# SPDX-License-Identifier: BSD-2-Clause
"""The accounts of a group (SMACCEL_GROUP), asked for as the command line does it (helper/wire/protocol.h)."""
import json
import os
import socket
import struct

WIRE_MAGIC = 0x6D73
WIRE_VERSION = 4
WIRE_GROUP = 21
HEADER = "HHHHII"
REPLY_BYTES = 24


def ask(path, group, uid=None):
    """The answer as a dict; an OSError for a refusal. uid: as that user, in a child process."""
    if uid is not None:
        return _as_user(path, group, uid)
    message = struct.pack(HEADER + "Q", WIRE_MAGIC, WIRE_VERSION, WIRE_GROUP, 24, 0, 0, group)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.settimeout(10)
        door.connect(str(path))
        door.send(message)
        reply, fds, _, _ = socket.recv_fds(door, REPLY_BYTES, 4)
        error, size = struct.unpack_from("iI", reply, 16)
        try:
            if error:
                raise OSError(-error, os.strerror(-error))
            return json.loads(os.pread(fds[0], size, 0))
        finally:
            for fd in fds:
                os.close(fd)


def _as_user(path, group, uid):
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(uid)
            os.setuid(uid)
            os.write(write_end, json.dumps(ask(path, group)).encode()[:60000])
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text)


def latency(answer, role, arm="all", port=None):
    """The rows of a role and arm, added up: {"count", "sum_ns", "max_ns", "buckets": {index: count}}."""
    total = {"count": 0, "sum_ns": 0, "max_ns": 0, "buckets": {}}
    for row in answer["latency"]:
        if row["role"] != role or row["arm"] != arm or (port and row["port"] != port):
            continue
        total["count"] += row["count"]
        total["sum_ns"] += row["sum_ns"]
        total["max_ns"] = max(total["max_ns"], row["max_ns"])
        for index, count in row["buckets"]:
            total["buckets"][index] = total["buckets"].get(index, 0) + count
    return total
