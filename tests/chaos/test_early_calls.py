# SPDX-License-Identifier: BSD-2-Clause
"""Several threads use a connection while it joins and is armed, before it has a ledger.

Without a turn of senders that have none yet a message was torn in 5 of 12 runs of 100 connections, and up to 12 of 800 lost their last bytes
behind the end. Without the state of when a receive began, 2 to 9 of 100 edge-triggered readers were never woken again."""
import pytest
from support.program import EAGER, PLAIN, auto, built, run
from support.proof import proved

ROUNDS = {"messages": 80, "end": 500, "edge": 50}


@pytest.mark.parametrize("arm", [PLAIN, EAGER], ids=str)
@pytest.mark.parametrize("what", ["messages", "end"])
def test_senders_without_a_ledger(helper, arm, what):
    check(helper, arm, what)


@pytest.mark.parametrize("arm", [PLAIN, auto(1)], ids=str)
def test_an_edge_is_not_missed_while_another_thread_joins(helper, arm):
    check(helper, arm, "edge")


def check(helper, arm, what):
    with helper.counting() as grown:
        seen = run([built("chaos/early_calls"), what, ROUNDS[what]], arm, helper.socket, timeout=110)
    assert seen == {"rounds": ROUNDS[what], "wrong": 0}, (seen, grown)
    if arm.accelerated:
        proved(grown["redirected_bytes"] > 5 << 20, grown)
