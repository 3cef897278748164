# SPDX-License-Identifier: BSD-2-Clause
"""A helper that answers, but late: each join is waited for, and all together take a small share of the application's time.
And one that comes late."""
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.helper import Helper, stuck
from support.apps import Commanded, wait_until
from support.program import AUTO, EAGER, Program, run
from support.proof import proved
from support.scripts import CONNECTED_PAIR

CONNECTIONS = 60
SECONDS = 2
ANSWER_MS = 70
LATE_MS = 3  # each of a join's system calls
# One thread a side.
TURNS = """
import os, selectors, socket, sys, time
connections, seconds = map(int, sys.argv[1:])
listener = socket.create_server(("127.0.0.1", 0))
if os.fork() == 0:
    watched = selectors.DefaultSelector()
    for _ in range(connections):
        watched.register(listener.accept()[0], selectors.EVENT_READ)
    while watched.get_map():
        for key, _ in watched.select():
            data = key.fileobj.recv(64)
            if data:
                key.fileobj.sendall(data)
            else:
                watched.unregister(key.fileobj)
                key.fileobj.close()
    os._exit(0)
ends = [socket.create_connection(listener.getsockname()) for _ in range(connections)]
until = time.monotonic() + seconds
while time.monotonic() < until:
    for end in ends:
        end.sendall(b"turn")
        assert end.recv(64) == b"turn"
for end in ends:
    end.close()
assert os.wait()[1] == 0
print("{}")
"""


def test_waits_for_a_late_helper_are_few():
    """All would join, and take most of the time, if each wait had nothing but its own bound."""
    with Helper() as helper, stuck(helper, LATE_MS):
        with helper.counting() as grown:
            run([sys.executable, "-c", TURNS, str(CONNECTIONS), str(SECONDS)], AUTO, helper.socket, timeout=60)
    assert grown["sockets_joined"] <= CONNECTIONS, grown
    proved(grown["sockets_joined"] >= 1, grown)  # none: each step of the helper took a CPU's turn more


# With a budget of time rather than of questions in vain: 6 of 12.
def test_an_answer_that_brings_a_reset_costs_no_other_one():
    """As to a process that a quota throttles, each is late, and all together are more than what is waited for without one."""
    with Helper() as helper, Commanded([sys.executable, Path(__file__).with_name("ending.py")], EAGER, helper.socket) as ends:
        ends.answer(10)
        wait_until(lambda: ends.ask("turns 20") == {} and helper.totals()["pairs_armed"] == 12, 10, helper.explain)
        ends.ask("fork 1")
        ends.ask("turns 20")
        with stuck(helper, ANSWER_MS):
            seen = ends.ask("end exit", 10)
        assert seen["errors"] == 12, seen
        assert seen["ms"] >= 500, seen  # as it was meant


# What a joined end cannot do: it has to leave first, and the call fails if that is not answered.
LEAVING = """
import json, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
a = socket.create_connection(listener.getsockname())
b = listener.accept()[0]
for _ in range(20):
    a.sendall(b"turn")
    b.sendall(b.recv(64))
    assert a.recv(64) == b"turn"
print("armed", flush=True)
sys.stdin.readline()
if sys.argv[1] == "urgent":
    assert a.send(b"urgent", socket.MSG_OOB) == 6
else:
    b.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 3)
print("{}")
"""
STOPPED_S = 0.1


# With 50 ms of patience: EOPNOTSUPP and ENOPROTOOPT each time.
@pytest.mark.parametrize("what", ["urgent", "low-water-mark"])
def test_a_call_that_has_to_leave_first_waits_for_a_late_answer(what):
    with Helper() as helper, helper.counting() as grown, \
            Program([sys.executable, "-c", LEAVING, what], EAGER, helper.socket, stdin=subprocess.PIPE) as program:
        program.wait_output("armed")
        os.kill(helper.pid, signal.SIGSTOP)
        program.process.stdin.write(b"\n")
        program.process.stdin.flush()
        time.sleep(STOPPED_S)
        os.kill(helper.pid, signal.SIGCONT)
        assert program.wait(10) == 0, program.describe()
    proved(grown["redirected_bytes"] > 0, grown)


# A server that goes on for a client which has said all it will.
HALF_CLOSED = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server = listener.accept()[0]
client.sendall(b"all")
client.shutdown(socket.SHUT_WR)
assert server.recv(64) == b"all" and server.recv(64) == b""
print("half-closed", flush=True)
sys.stdin.readline()
until = time.monotonic() + float(sys.argv[1])
while time.monotonic() < until:
    server.sendall(bytes(16384))
    assert client.recv(16384, socket.MSG_WAITALL) == bytes(16384)
    time.sleep(0.001)
print("{}")
"""


def test_half_closed_connection_is_called_that():
    """The octets of the two FINs are no traffic that went past the wrappers."""
    with Helper() as helper:
        helper.kill()
        argv = [sys.executable, "-c", HALF_CLOSED, str(SECONDS)]
        with Program(argv, EAGER, helper.socket, stdin=subprocess.PIPE) as program:
            program.wait_output("half-closed")
            helper.start()
            program.process.stdin.write(b"\n")
            program.process.stdin.flush()
            wait_until(lambda: helper.status()["refusals"], 5 * SECONDS, helper.explain)
            assert program.wait(10) == 0, program.describe()
        refusals = helper.status()["refusals"]
    assert "not-established" in refusals and "unseen-traffic" not in refusals, refusals


# A pair, and another whenever it is told.
PAIRS = CONNECTED_PAIR + """
import sys
pairs = [connected_pair()]
print("{}", flush=True)
for _ in sys.stdin:
    pairs.append(connected_pair())
    print("{}", flush=True)
"""


def test_a_join_that_was_given_up_meanwhile_is_called_that():
    """The application goes on after 50 ms. What it sends then, before the helper looks at the socket, went past no wrapper."""
    with Helper() as helper, Commanded([sys.executable, "-c", PAIRS], EAGER, helper.socket) as program:
        def one_is_refused():
            program.ask("another", 10)
            return helper.status()["refusals"]

        program.answer(10)
        with stuck(helper, 2 * ANSWER_MS):
            wait_until(one_is_refused, 20, helper.explain)
        refusals = helper.status()["refusals"]
    assert "unseen-traffic" not in refusals and "abandoned" in refusals, refusals


def test_helper_of_another_version_is_not_asked_all_the_time(tmp_path):
    """It closes each door at the first message. A hundredth of a second later it would do so again."""
    doors = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(100)

        def close_doors():
            while True:
                try:
                    door = listener.accept()[0]
                except OSError:
                    return
                doors.append(door.recv(4096))
                door.close()

        threading.Thread(target=close_doors, daemon=True).start()
        begun = time.monotonic()
        run([sys.executable, "-c", TURNS, "20", str(SECONDS)], EAGER, tmp_path / "s", timeout=60)
        seconds = time.monotonic() - begun
        listener.shutdown(socket.SHUT_RDWR)
    assert 1 <= len(doors) <= 2 * (2 + 11 * seconds), (len(doors), seconds)  # of two processes
