# SPDX-License-Identifier: BSD-2-Clause
"""Connections that are passed to another process (passing.py) are accelerated there, once nobody else has them, and only then."""
import json
import sys
from pathlib import Path

import pytest

from support.program import EAGER, PLAIN, Program, auto

PROGRAM = Path(__file__).with_name("passing.py")
CONNECTIONS = 3
ALONE, KEPT = ("fresh", "begun", "unread", "late"), ("kept", "shared")


@pytest.mark.parametrize("how", [*ALONE, *KEPT])
@pytest.mark.parametrize("role", ["accepts", "connects"])
@pytest.mark.parametrize("arm", [PLAIN, EAGER, auto(2)], ids=str)
def test_passed_connections(helper, arm, role, how):
    listens, asks = ("both", "peer") if role == "accepts" else ("peer", "both")
    with helper.counting() as grown, \
            Program([sys.executable, PROGRAM, listens, role, how, CONNECTIONS, 0], arm, helper.socket) as first:
        port = first.wait_output("port ")
        with Program([sys.executable, PROGRAM, asks, role, how, CONNECTIONS, port], arm, helper.socket) as second:
            ends = [program.wait(30) for program in (second, first)]
        assert ends == [0, 0], first.err + second.err
        result = json.loads((first if listens == "peer" else second).out.splitlines()[-1])
    explain = f"{result}\n{grown}\n{helper.explain()}"
    redirected, armed = grown["redirected_bytes"] / result["bytes"], grown["pairs_armed_total"]
    if not arm.accelerated:
        assert redirected == 0, explain
    elif how in KEPT:  # but for what an eager end has done before it was passed
        assert armed <= (CONNECTIONS if arm == EAGER else 0), explain
        assert redirected < 0.01, explain
    elif arm == EAGER or how == "begun":  # what has joined before, and has redirected bytes unread when it is passed, stays pinned a while
        assert armed >= 1 and redirected > 0, explain
    else:
        assert armed == CONNECTIONS, explain
        assert redirected > (0.3 if how == "late" else 0.8), explain
