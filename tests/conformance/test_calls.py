# SPDX-License-Identifier: BSD-2-Clause
"""A call of the application's is one system call: of a connection that is watched, armed or has left; blocking or not; of one thread or two."""
import collections
import json
import os
import re
import sys
from pathlib import Path

import pytest

from support.apps import Commanded, ss_rows, wait_until
from support.program import AUTO, EAGER, PLAIN
from support.proof import proved

ROUNDS = 20
# Of a round: a page that is looked at again, an offer anew. What comes with each call is ROUNDS and more.
STRAY_CALLS_MAX = ROUNDS // 2
MARK = "sched_yield()"
# readable.c asks about a page of the application's anew with each tick of the coarse clock: two pages of a call's at the most, in either direction.
PAGE_LOOK = re.compile(r"rt_sigprocmask\(0xffffffff ")
TICK_S, LOOKS_PER_TICK = 0.004, 4

PROGRAM = f"""
import ctypes, fcntl, json, os, select, socket, sys, termios, threading
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
data, room = bytes(100), bytearray(100)
poller, epoll, other = select.poll(), select.epoll(), socket.socketpair()
poller.register(server, select.POLLIN)
epoll.register(server, select.EPOLLIN)

def turns():
    for _ in range(100):
        client.sendall(b"ping"); server.recv(4); server.sendall(b"pong"); client.recv(4)

def small_writes():
    for _ in range(1000):
        client.sendall(b"small"); server.recv(5)

def second_thread():
    threading.Thread(target=lambda: other[1].recv(1), daemon=True).start()

def ends(blocking):
    client.setblocking(blocking)
    server.setblocking(blocking)

class Message(ctypes.Structure):  # struct mmsghdr
    _fields_ = [("name", ctypes.c_void_p), ("name_length", ctypes.c_uint32), ("vector", ctypes.c_void_p), ("vectors", ctypes.c_size_t),
                ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t), ("flags", ctypes.c_size_t), ("length", ctypes.c_size_t)]

memory = ctypes.create_string_buffer(100)
vector = (ctypes.c_size_t * 2)(ctypes.addressof(memory), 100)
messages = (Message * 8)(*[Message(vector=ctypes.addressof(vector), vectors=1) for _ in range(8)])
libc = ctypes.CDLL(None)

def eight_messages():
    assert libc.sendmmsg(client.fileno(), messages, 8, 0) == 8
    assert libc.recvmmsg(server.fileno(), messages, 8, 0x10000, None) == 8  # MSG_WAITFORONE

def eight_awaited_messages():
    assert libc.sendmmsg(client.fileno(), messages, 8, 0) == 8
    assert libc.recvmmsg(server.fileno(), messages, 8, 0, None) == 8

def finds_nothing(receive):
    try:
        receive()
    except BlockingIOError:
        return
    raise AssertionError("found something")

BOTH = dict(
    send_recv=lambda: (client.send(data), server.recv(100)),
    messages=lambda: (client.sendmsg([data]), server.recvmsg(100)),
    write_read=lambda: (os.write(client.fileno(), data), os.read(server.fileno(), 100)),
    vectors=lambda: (os.writev(client.fileno(), [data]), os.readv(server.fileno(), [room])),
    peek=lambda: (client.send(data), server.recv(100, socket.MSG_PEEK), server.recv(100)),
    eight_messages=eight_messages,
    eight_awaited_messages=eight_awaited_messages,
    short_reads=lambda: (client.send(data), server.recv(50), server.recv(1000)),
    select=lambda: select.select([server], [], [], 0),
    poll=lambda: (client.send(data), poller.poll(), server.recv(100)),
    epoll=lambda: (client.send(data), epoll.poll(), server.recv(100)),
)
NONBLOCKING = dict(
    nothing_by_recv=lambda: finds_nothing(lambda: server.recv(100)),
    nothing_by_recvmsg=lambda: finds_nothing(lambda: server.recvmsg(100)),
    nothing_by_read=lambda: finds_nothing(lambda: os.readv(server.fileno(), [room])),
)

def calls():
    names = []
    for blocking, operations in ((True, BOTH), (False, BOTH | NONBLOCKING)):
        ends(blocking)
        for name, operation in operations.items():
            operation()
            os.sched_yield()  # a mark in the trace
            for _ in range({ROUNDS}):
                operation()
            os.sched_yield()
            names.append(name + ("" if blocking else ", non-blocking"))
    ends(True)
    return names

def past_libc(number, operation, more):
    room = ctypes.create_string_buffer(256)
    return ctypes.CDLL(None).syscall(ctypes.c_long(number), 1, ctypes.c_long(operation), room if more else None)

def ask(sender, reader):
    sender.sendall(b"unread")
    os.sched_yield()
    said = [int.from_bytes(fcntl.ioctl(reader.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder) for _ in range(20)]
    os.sched_yield()
    reader.recv(6)
    return said

for line in sys.stdin:
    print(json.dumps(eval(line)), flush=True)
"""


def calls_between_marks(trace):
    """A Counter of system calls for each pair of marks. A machine that is slow under strace sees more ticks in the same calls: what may be
    looked at in that time is taken off, no more."""
    counts = []
    for part in trace.read_text().split(MARK)[1::2]:
        lines = [line.split(None, 2) for line in part.splitlines()[1:-1]]  # pid, time, call
        calls = collections.Counter(text.split("(")[0] for _, _, text in lines)
        if lines:
            ticks = int((float(lines[-1][1]) - float(lines[0][1])) / TICK_S)
            looks = sum(bool(PAGE_LOOK.match(text)) for _, _, text in lines)
            calls -= collections.Counter(rt_sigprocmask=min(looks, LOOKS_PER_TICK * ticks))
        counts.append(calls)
    return counts


def traced(trace, arm, helper):
    return Commanded(["strace", "-f", "-ttt", "-o", trace, sys.executable, "-c", PROGRAM], arm, helper.socket)


def reach(program, pid, helper, command, states):
    """Gives the command until the program's ends are in these states."""
    def reached():
        program.ask(command)
        return {row["state"] for row in ss_rows(helper) if row["pid"] == pid} == states
    wait_until(reached, 20, helper.explain)


STATES = {"watched": (AUTO, None, set()), "armed": (EAGER, "turns()", {"armed"}), "left": (AUTO, "small_writes()", {"left", "offered"})}


def measured(trace, helper, arm, threads, prepared):
    with traced(trace, arm, helper) as program:
        pid = program.ask("os.getpid()")
        if threads == 2:
            program.ask("second_thread()")
        prepared(program, pid)
        names = program.ask("calls()", 30)
        assert ("libsmaccel" in Path(f"/proc/{pid}/maps").read_text()) == arm.accelerated
    return {name: sum(calls.values()) for name, calls in zip(names, calls_between_marks(trace), strict=True)}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("state", STATES)
def test_each_call_is_one_system_call(helper, tmp_path, state, threads):
    arm, command, states = STATES[state]

    def prepared(program, pid):
        if state == "left":
            reach(program, pid, helper, "turns()", {"armed"})
        if command:
            reach(program, pid, helper, command, states)
            program.ask("turns()" if state == "armed" else command)

    before = helper.totals()["redirected_msgs"]
    plain = measured(tmp_path / "plain", helper, PLAIN, threads, lambda program, pid: None)
    ours = measured(tmp_path / state, helper, arm, threads, prepared)
    if state == "armed":
        proved(helper.totals()["redirected_msgs"] - before >= 2 * ROUNDS * 8, helper.explain)
    if state != "watched":  # what was ever joined is repaired message by message
        ours = {name: calls for name, calls in ours.items() if "eight_" not in name}
    more = {name: f"{ours[name]} for {calls}" for name, calls in plain.items() if ours.get(name, 0) > calls + STRAY_CALLS_MAX}
    assert not more, json.dumps(more, indent=1)


IOCTL, FCNTL, F_GETFL, TIOCGWINSZ = {"x86_64": 16}.get(os.uname().machine, 29), {"x86_64": 72}.get(os.uname().machine, 25), 3, 0x5413


def test_a_call_by_number_that_only_asks_changes_nothing(helper):
    """libc's syscall() is looked at for what sets a mode, or installs a filter."""
    with Commanded([sys.executable, "-c", PROGRAM], EAGER, helper.socket) as program:
        pid = program.ask("os.getpid()")
        reach(program, pid, helper, "turns()", {"armed"})
        for number, operation in ((IOCTL, TIOCGWINSZ), (FCNTL, F_GETFL)):
            for more in (True, False):
                program.ask(f"past_libc({number}, {operation}, {more})")
        with helper.counting() as grown:
            program.ask("turns()")
        proved(grown["redirected_msgs"] > 100, helper.explain)


def test_fionread_is_one_call_where_the_kernel_says_it_all(helper, tmp_path):
    """Of both ends of a pair that has left. Of an armed end it is two, one for each queue, where the kernel counts the redirected bytes."""
    trace = tmp_path / "calls"
    with traced(trace, AUTO, helper) as program:
        pid = program.ask("os.getpid()")
        reach(program, pid, helper, "turns()", {"armed"})
        program.ask("turns()")  # both have attached to the ledger
        said = program.ask("ask(client, server) + ask(server, client)")
        reach(program, pid, helper, "small_writes()", {"left", "offered"})
        said += program.ask("ask(client, server) + ask(server, client)")
    assert said == [6] * 80
    calls = calls_between_marks(trace)
    if "fionread-counts-psock" in helper.status()["kernel"]["features"]:
        assert calls[:2] == [{"ioctl": 20, "getsockopt": 20}] * 2, calls
    assert len(calls) == 4 and calls[2:] == [{"ioctl": 20}] * 2, calls
