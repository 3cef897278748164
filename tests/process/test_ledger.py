# SPDX-License-Identifier: BSD-2-Clause
"""The pair page: who says that its sums are all; and a child that keeps a ledger's place when the pair has left does not spoil the accounts of
the connection that gets it next."""
import os
import struct
import sys
from pathlib import Path

import pytest
from support.apps import Commanded, wait_until
from support.helper import Helper
from support.program import EAGER, PLAIN, built, run
from support.proof import proved

CELLS = 1024  # of a ledger
HALF_BYTES, ATTACHED_AT = 128, 8
EXACT, INEXACT = 1, 2
BOUND = 8  # bytes: of two messages of five the second one passes, behind the first


@pytest.fixture(scope="module")
def bounded(root_only):
    with Helper("--test-bound", BOUND) as running:
        yield running


# An end joins, and after a fork, which does nothing, the other one does.
ENDS = """
import json, os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
near = socket.create_connection(listener.getsockname())
if sys.argv[1] == "forked":
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
far = listener.accept()[0]
for end in (near, far):
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for line in sys.stdin:
    for _ in range(20):
        for one, other in ((near, far), (far, near)):
            one.sendall(b"t")
            other.recv(1)
    print(json.dumps("done"), flush=True)
"""


def ledgers(helper):
    """Of the helper's ledgers, by number of file: what the ends of each connection say of their sums."""
    found = {}
    for path in Path(f"/proc/{helper.pid}/fd").iterdir():
        if "smaccel-ledger" in os.readlink(path):
            page = path.read_bytes()
            words = [struct.unpack_from("=I", page, at + ATTACHED_AT)[0] for at in range(0, len(page), HALF_BYTES)]
            found[path.stat().st_ino] = [word for word in words if word]
    return found


# A child that was forked meanwhile may have sent and received past these sums.
@pytest.mark.parametrize("how, near", [("alone", EXACT), ("forked", INEXACT)])
def test_who_says_that_its_sums_are_all(bounded, how, near):
    before = ledgers(bounded)
    with bounded.counting() as grown, Commanded([sys.executable, "-c", ENDS, how], EAGER, bounded.socket) as ends:

        def both_say():
            ends.ask("turns")
            return [sorted(words) for number, words in ledgers(bounded).items() if number not in before and len(words) == 2]

        assert wait_until(both_say, 10, bounded.explain) == [[EXACT, near]]
    proved(grown["redirected_bytes"] > 0, grown)


# With a cell that was given to others while the child had it, the receive on one of them brought 5 bytes, and 5 waited behind them.
@pytest.mark.parametrize("child", ["uses", "idle", "closes"])
@pytest.mark.parametrize("arm", [PLAIN, EAGER], ids=str)
def test_child_with_an_old_ledger(bounded, arm, child):
    with bounded.counting() as grown:
        result = run([built("process/child_ledger"), child], arm, bounded.socket, timeout=60)
    assert result["bytes"] == 10, result
    proved(not arm.accelerated or grown["pairs_armed_total"] > CELLS, grown)
