# SPDX-License-Identifier: BSD-2-Clause
"""Connections that are passed to another process (passing.py) are accelerated there, once nobody else has them, and only then."""
import json
import sys
from pathlib import Path

import pytest

from support.program import EAGER, PLAIN, Program, auto

PROGRAM = Path(__file__).with_name("passing.py")
CONNECTIONS = 3
ALONE, KEPT = ("fresh", "begun", "unread", "late", "whole"), ("kept", "shared", "zero")
LATE = ("late", "whole")


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
        assert redirected < (0.05 if how == "zero" else 0.01), explain
    elif arm == EAGER or how == "begun":  # what has joined before, and has redirected bytes unread when it is passed, stays pinned a while
        assert armed >= 1 and redirected > 0, explain
    else:
        assert armed == CONNECTIONS, explain
        assert redirected > (0.3 if how in LATE else 0.8), explain


@pytest.mark.parametrize("role", ["accepts", "connects"])
def test_that_were_alone_in_the_sockhash(helper, role):
    """The peer comes later, when the end has been taken out: it joins again."""
    result, grown = pass_on(helper, role, "lonely", 1, EAGER, auto(30))
    explain = f"{result}\n{grown}\n{helper.explain()}"
    assert helper.status()["refusals"]["lonely"] >= 1, explain
    assert grown["pairs_armed_total"] == 1 and grown["redirected_bytes"] > 0.5 * result["bytes"], explain
