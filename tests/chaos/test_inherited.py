# SPDX-License-Identifier: BSD-2-Clause
"""What a forked child has of its parent's connections, when the parent closes them and goes on."""
import sys
from pathlib import Path

from support.apps import Commanded, wait_until
from support.helper import Helper
from support.program import EAGER

PROGRAM = [sys.executable, Path(__file__).with_name("inherited.py")]
OTHERS = 70  # more than a process has places for connections at first: the first one's is another's then


def test_place_of_a_childs_connection_is_given_to_another():
    """The child's end goes on as it was: no receive waits for the other connection's reader, and none of the two leaves."""
    with Helper() as helper, Commanded([*PROGRAM, "server", OTHERS], EAGER, helper.socket) as serving:
        port = serving.answer(5)
        with Commanded([*PROGRAM, "client", port], EAGER, helper.socket) as calls:
            calls.answer(10)
            calls.ask(f"open {OTHERS}")
            wait_until(lambda: calls.ask("others 5") == {} and helper.totals()["pairs_armed"] == OTHERS + 1, 10,
                       helper.explain)
            before = helper.totals()
            calls.ask("turns 200")
            after = helper.totals()
            assert after["leaves"] == before["leaves"] == 0, helper.explain()
            assert after["redirected_msgs"] - before["redirected_msgs"] >= 390, helper.explain()
