# SPDX-License-Identifier: BSD-2-Clause
"""Connections that are passed to another process (passing.py) are accelerated there, once nobody else has them, and only then."""
import json
import sys
from pathlib import Path

import pytest

from support.apps import Commanded, wait_until
from support.helper import Helper
from support.program import EAGER, PLAIN, Program, auto
from support.proof import proved

PROGRAM = Path(__file__).with_name("passing.py")
CONNECTIONS = 3
ALONE, KEPT = ("fresh", "begun", "unread", "late", "whole"), ("kept", "shared", "zero")


def pass_on(helper, role, how, connections, arm, peer_arm):
    """(what the peer tells, counters)"""
    ends = {"both": arm, "peer": peer_arm}
    listens, asks = ends if role == "accepts" else reversed(ends)
    with helper.counting() as grown, \
            Program([sys.executable, PROGRAM, listens, role, how, connections, 0], ends[listens], helper.socket) as first:
        port = first.wait_output("port ")
        with Program([sys.executable, PROGRAM, asks, role, how, connections, port], ends[asks], helper.socket) as second:
            statuses = [program.wait(30) for program in (second, first)]
        assert statuses == [0, 0], first.err + second.err
        result = json.loads((first if listens == "peer" else second).out.splitlines()[-1])
    return result, grown


@pytest.mark.parametrize("how", [*ALONE, *KEPT])
@pytest.mark.parametrize("role", ["accepts", "connects"])
@pytest.mark.parametrize("arm", [PLAIN, EAGER, auto(2)], ids=str)
def test_passed_connections(helper, arm, role, how):
    result, grown = pass_on(helper, role, how, CONNECTIONS, arm, arm)
    explain = f"{result}\n{grown}\n{helper.explain()}"
    redirected, armed = grown["redirected_bytes"] / result["bytes"], grown["pairs_armed_total"]
    if not arm.accelerated:
        assert redirected == 0, explain
    elif how in KEPT:  # but for what has been done before it was passed
        assert armed <= (CONNECTIONS if arm == EAGER or how == "zero" else 0), explain
        # A helper that is late does not take it out while it is passed, but when it next looks around, a second later.
        proved(redirected < (0.05 if how == "zero" else 0.01), explain)
    elif arm == EAGER or how == "begun":  # what has joined before, and has redirected bytes unread when it is passed, stays pinned a while
        proved(armed >= 1 and redirected > 0, explain)
    else:
        proved(armed == CONNECTIONS and redirected > 0.3, explain)  # how soon it joins depends on who else wants a CPU


@pytest.mark.parametrize("role", ["accepts", "connects"])
def test_that_were_alone_in_the_sockhash(helper, role):
    """The peer comes later, when the end has been taken out: it joins again."""
    result, grown = pass_on(helper, role, "lonely", 1, EAGER, auto(30))
    explain = f"{result}\n{grown}\n{helper.explain()}"
    proved(helper.status()["refusals"].get("lonely", 0) >= 1, explain)
    proved(grown["pairs_armed_total"] == 1 and grown["redirected_bytes"] > 0.5 * result["bytes"], explain)


# Hands the connection on and keeps it; nothing of its is intercepted.
GIVER = """
import socket, sys
door = socket.socket(socket.AF_UNIX)
door.bind(sys.argv[1])
door.listen()
listener = socket.create_server(("127.0.0.1", 0))
print("port", listener.getsockname()[1], flush=True)
connection = listener.accept()[0]
socket.send_fds(door.accept()[0], [b"x"], [connection.fileno()])
sys.stdin.readline()
"""
TAKER = """
import socket, sys
door = socket.socket(socket.AF_UNIX)
door.connect(sys.argv[1])
connection = socket.socket(fileno=socket.recv_fds(door, 1, 1)[1][0])
while data := connection.recv(100):
    connection.sendall(data)
"""
ASKER = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
for _ in range(200):
    connection.sendall(b"x")
    assert connection.recv(1) == b"x"
print("done", flush=True)
sys.stdin.readline()
"""


def test_end_whose_peer_may_not_join_does_not_wait_for_it(tmp_path):
    """Passing is dearer in the sockhash: it is out as soon as the peer's join is refused, long before it is lonely."""
    door = tmp_path / "door"
    door.unlink(missing_ok=True)  # of a turn before
    with Helper("--lonely-ms", 60_000) as helper, Commanded([sys.executable, "-c", GIVER, door]) as giver:
        port = giver.wait_output("port ")
        with Program([sys.executable, "-c", TAKER, door], EAGER, helper.socket), \
                Commanded([sys.executable, "-c", ASKER, port], EAGER, helper.socket) as asker:
            asker.wait_output("done")
            proved(helper.status()["refusals"].get("shared", 0) >= 1, helper.explain)
            wait_until(lambda: helper.totals()["sockets_joined_now"] == 0, 5, helper.explain)
        proved(helper.totals()["sockets_joined"] >= 1, helper.explain)


# Passes connections on with bytes unread, to itself; each is read, and a moment later closed.
PASSER = """
import socket, sys, time
here, there = socket.socketpair()
for _ in range(int(sys.argv[1])):
    listener = socket.create_server(("127.0.0.1", 0))
    asker = socket.create_connection(listener.getsockname())
    server = listener.accept()[0]
    for one, other in [(asker, server), (server, asker)] * 10:
        one.sendall(b"x")
        assert other.recv(1) == b"x"
    asker.sendall(b"unread")
    socket.send_fds(here, [b"x"], [server.fileno()])
    server.close()
    with socket.socket(fileno=socket.recv_fds(there, 1, 1)[1][0]) as received:
        assert received.recv(100) == b"unread"
        time.sleep(0.02)
        received.sendall(b"answer")
    assert asker.recv(100) == b"answer" and asker.recv(100) == b""
"""


@pytest.mark.parametrize("arm", [PLAIN, EAGER], ids=str)
def test_passed_with_bytes_unread_leaves_as_soon_as_they_are_read(helper, arm):
    """It is pinned when it is passed. The sweep, which comes once a second, would not find it any more."""
    passed = 20
    with helper.counting() as grown, Program([sys.executable, "-c", PASSER, passed], arm, helper.socket) as program:
        assert program.wait(30) == 0, program.describe()
    explain = f"{grown}\n{helper.explain()}"
    if arm.accelerated:
        proved(grown["redirected_bytes"] > 0 and grown["leaves"] >= passed // 2, explain)
    else:
        assert grown["redirected_bytes"] == grown["leaves"] == 0, explain


# Goes on with a connection that the programs which it starts inherit, and do not use: the shell forks, and each of them executes the next.
INHERITED = """
import os, socket
listener = socket.create_server(("127.0.0.1", 0))
asker = socket.create_connection(listener.getsockname())
server = listener.accept()[0]
asker.set_inheritable(True)
for _ in range(5):
    for one, other in [(asker, server), (server, asker)] * 20:
        one.sendall(b"x")
        assert other.recv(1) == b"x"
    assert os.system("bash -c '/bin/true; exec /bin/true'") == 0
"""


@pytest.mark.parametrize("arm", [PLAIN, EAGER], ids=str)
def test_what_is_inherited_by_mistake_stays_joined(helper, arm):
    with helper.counting() as grown, Program([sys.executable, "-c", INHERITED], arm, helper.socket) as program:
        assert program.wait(30) == 0, program.describe()
    explain = f"{grown}\n{helper.explain()}"
    assert grown["leaves"] == 0 and (arm.accelerated or grown["redirected_bytes"] == 0), explain
    proved(not arm.accelerated or grown["redirected_bytes"] > 150, explain)
