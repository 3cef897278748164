# SPDX-License-Identifier: BSD-2-Clause
"""A connection that leaves the sockhash and comes back, again and again, in a trial: it is one connection."""
import sys

from service import report, start, trial
from support.apps import wait_until
from support.program import Program, auto
from support.proof import proved

ROUNDS = 3
TURNS = 3000
WRITES = 200_000

# Turns, which pay, and a stream of small writes, which does not: by turns. Then idle, until stdin ends.
PROGRAM = f"""
import os, socket, sys
def whole(end, count):
    while count:
        count -= len(end.recv(min(count, 65536)))
listener = socket.create_server(("127.0.0.1", 0))
is_client = os.fork() == 0
end = socket.create_connection(listener.getsockname()) if is_client else listener.accept()[0]
end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for _ in range({ROUNDS}):
    for _ in range({TURNS}):
        if is_client:
            end.sendall(b"x" * 64)
            whole(end, 64)
        else:
            whole(end, 64)
            end.sendall(b"x" * 64)
    if is_client:
        for _ in range({WRITES}):
            end.send(b"x" * 64)
        whole(end, 1)
    else:
        whole(end, 64 * {WRITES})
        end.sendall(b"x")
print("done", flush=True)
sys.stdin.read()
"""


def counts(answer, role):
    return {row["arm"]: row["count"] for row in answer["connections"] if row["role"] == role}


def test_a_connection_counts_once(helper):
    start(helper, "--percent", "99.99")
    with helper.counting() as grown, Program([sys.executable, "-c", PROGRAM], auto(2), helper.socket) as program:
        program.wait_output("done", 60)
        # A helper without a CPU has not looked at it yet.
        wait_until(lambda: counts(report(helper), "client") == {"accelerated": 1}, 10, lambda: f"while it is open: {report(helper)}")
    for end_it in (lambda: None, lambda: trial(helper, "stop")):
        end_it()
        wait_until(lambda: counts(report(helper), "client") == {"accelerated": 1}, 10, lambda: str(report(helper)))
    proved(grown["leaves"] >= ROUNDS - 1 and grown["pairs_armed_total"] >= ROUNDS - 1, "it did not come back: nothing is shown")
    answer = report(helper)
    assert counts(answer, "server") == {"accelerated": 1}
    assert answer["arms"]["accelerated"]["pairs"] == answer["arms"]["accelerated"]["armed"] == 1
