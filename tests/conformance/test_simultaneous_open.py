# SPDX-License-Identifier: BSD-2-Clause
"""Two sockets whose SYNs cross (simultaneous open): both have connected, none was accepted, and they are a pair as any other."""
import sys
from pathlib import Path

import pytest
from support.namespaces import Netns, parse_netstat
from support.program import EAGER, PLAIN, auto, run
from support.proof import proved

PROGRAM = Path(__file__).with_name("simultaneous.py")
# 120 ms for the datagrams that fill the queue, beyond the burst, which must be no less than the largest packet
SLOW = ["tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "8mbit", "burst", "100kb", "latency", "1s"]
PORT = 7300


@pytest.mark.parametrize("arm", [PLAIN, EAGER, auto(2)], ids=str)
def test_simultaneous_open(helper, arm):
    with Netns() as netns:
        netns.run(*SLOW)
        with helper.counting() as grown:
            result = run([sys.executable, PROGRAM, PORT], arm, helper.socket, netns, timeout=30)
        opened = parse_netstat(netns.run("cat", "/proc/net/snmp"))
    assert (opened["ActiveOpens"], opened["PassiveOpens"]) == (2, 0), opened
    assert result["ends"] == ["", "last", ""]
    if arm.accelerated:
        proved(grown["pairs_armed_total"] == 1, lambda: f"{grown}\n{helper.explain()}")
        proved(grown["redirected_bytes"] > result["bytes"] / 2, lambda: f"{result}\n{grown}\n{helper.explain()}")
