# SPDX-License-Identifier: BSD-2-Clause
"""Replies are the helper's memory: what a client does not read, or keeps, is bounded."""
import fcntl
import json
import mmap
import os
import select
import socket
import struct
import subprocess
import termios
import time

import pytest
from support.apps import wait_until
from support.group import WIRE_MAGIC, WIRE_VERSION
from support.program import BUILD

HELLO, WELCOME, STATUS, CONNECTIONS = 1, 2, 16, 17
HEADER = struct.Struct("<HHHHII")
CELLS_AT, CELL, SHOWN = 128, 128, 64    # helper/wire/memory.h
CLAIMED = 20_000                        # connections that are none: some 400 bytes each
REPLIES = 14
BOUND = 64 << 20                        # helper/replies.c
TAKEN_BACK_S = 10


def message(kind, size=HEADER.size):
    return HEADER.pack(WIRE_MAGIC, WIRE_VERSION, kind, size, 0, 0)


def door_to(helper):
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    door.settimeout(20)
    door.connect(str(helper.socket))
    return door


def receive(channel):
    """A message, and the one fd that came with it."""
    data, fds, _, _ = socket.recv_fds(channel, 256, 1)
    return data, fds[0] if fds else -1


@pytest.fixture
def claims(request, helper):
    """A session that claims to have many connections; how many."""
    count = getattr(request, "param", CLAIMED)
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.settimeout(10)
    with near, far, door_to(helper) as door:
        hello = message(HELLO, HEADER.size + 24) + b"claims".ljust(16, b"\0") + bytes(8)
        socket.send_fds(door, [hello], [far.fileno()])
        while True:
            data, fd = receive(near)
            if HEADER.unpack_from(data)[2] == WELCOME:
                break
            os.close(fd)
        with mmap.mmap(fd, CELLS_AT + (count + 1) * CELL) as memory:
            for cell in range(1, count + 1):
                struct.pack_into("<I", memory, CELLS_AT + cell * CELL + SHOWN, 1 << 8 | 1)
        os.close(fd)
        yield count


def ask_for_list(helper):
    """A door, and the text of the reply as an fd."""
    door = door_to(helper)
    door.send(message(CONNECTIONS))
    data, fd = receive(door)
    error, size = struct.unpack_from("<iI", data, HEADER.size)
    assert error == 0 and size > CLAIMED * 100 and fd >= 0, (error, size)
    return door, fd


def answered_or_hung_up(door, unread):
    """After a request: once there is one answer more than `unread`, or the end."""
    hang_up = select.poll()
    hang_up.register(door, select.POLLRDHUP)

    def fact():
        queued, = struct.unpack("i", fcntl.ioctl(door, termios.FIONREAD, bytes(4)))
        return queued > unread * (HEADER.size + 8) or hang_up.poll(0)
    wait_until(fact, 10)


def held(fds):
    return sum(os.fstat(fd).st_blocks * 512 for fd in fds)


def test_texts_that_are_kept_do_not_add_up(helper, claims):
    doors, fds = [], []
    try:
        for _ in range(REPLIES):
            door, fd = ask_for_list(helper)
            doors.append(door)
            fds.append(fd)
            assert os.pread(fd, 16, 0).startswith(b'{"connections"'), "the newest is there to be read"
        size = os.fstat(fds[-1]).st_size
        assert size * REPLIES > BOUND + 2 * size, "too few to show anything"
        assert held(fds) <= BOUND + 2 * size
        doors[-1].close()
        wait_until(lambda: held(fds[-1:]) == 0, 5, helper.explain)
        assert held(fds) > 0
        wait_until(lambda: held(fds) == 0, TAKEN_BACK_S + 10, helper.explain)
        for fd in fds:
            with pytest.raises(PermissionError):
                os.ftruncate(fd, 1 << 30)
    finally:
        for door, fd in zip(doors, fds):
            door.close()
            os.close(fd)


@pytest.mark.parametrize("claims", [3000], indirect=True, ids=str)
def test_lists_are_waited_for(helper, claims):
    """The helper makes only some at a time."""
    command = [str(BUILD / "smaccel"), "ss", "--json", f"--socket={helper.socket}"]
    asking = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(7)]
    for one in asking:
        out, err = one.communicate(timeout=20)
        for _ in range(5):
            if "does not answer" in err:  # 2 s are too few for seven lists on a machine that has much to do: that one once more
                one = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                out, err = one.communicate(timeout=20)
        assert one.returncode == 0, err
        assert len(json.loads(out)["connections"]) == claims


def test_who_does_not_read_is_hung_up_on(helper):
    with door_to(helper) as door:
        for _ in range(3):
            door.send(message(STATUS))
            time.sleep(0.05)    # whoever reads may go on asking
            data, fd = receive(door)
            assert len(data) == HEADER.size + 8 and fd >= 0
            os.close(fd)
        unread = 0
        with pytest.raises(OSError):    # EPIPE
            while unread < 50:
                door.send(message(STATUS))
                answered_or_hung_up(door, unread)
                unread += 1
        assert unread <= 3
