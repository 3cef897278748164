# SPDX-License-Identifier: BSD-2-Clause
"""A receive window that has grown to the whole of tcp_rmem[2] before its connection joins: fact 12b leaves no room then.

A stream comes to redirect all the same, and its TCP_WINDOW_CLAMP, which is set for that, is never seen by the application. If its reader
stalls, then nothing waits for a timer, as without it."""
import pytest

from support.namespaces import Netns
from support.program import PLAIN, Program, auto, built, run

BULK_MEBI = 64
CLAMP = 256 << 10
GROWING_TURNS = 5000  # as in growing.h
AUTO = auto(GROWING_TURNS)
STALL_MS = 5_000
TIMER_US = 500_000


@pytest.mark.parametrize("arm", [PLAIN, AUTO], ids=str)
def test_a_grown_window_is_no_obstacle(helper, arm):
    with Netns() as netns:
        with helper.counting() as grown:
            result = run([built("conformance/grown_window"), f"bulk_mebi={BULK_MEBI}", "deadline=60"], arm, helper.socket, netns=netns,
                         timeout=70)
    assert result["before"] > CLAMP, result
    assert result["told"] == result["told_left"] == result["real_left"], result
    assert result["told"] >= result["before"] * 0.9, result  # the kernel's own changes with the sizes of what comes
    if arm.accelerated:
        assert result["real"] == CLAMP, result
        assert result["by_tcp"] <= result["bulk"] / 2, result  # without a clamp: all of it
        assert grown["redirected_bytes"] >= result["bulk"] / 2, grown
    else:
        assert grown["sockets_joined"] == 0


@pytest.mark.parametrize("blocking", [0, 1])
def test_a_stalled_reader_waits_for_no_timer(helper, blocking):
    argv = [built("conformance/stalled_reader"), "grow=1", f"blocking={blocking}", f"stall_ms={STALL_MS}", "deadline=60"]
    with Netns() as here, Netns() as there:
        with Program(argv, PLAIN, helper.socket, here) as first, Program(argv, AUTO, helper.socket, there) as second:
            plain, fast = first.result(70), second.result(70)
        timeouts = [netns.netstat()["TCPTimeouts"] for netns in (here, there)]
    assert fast["grown_redirects"], fast
    assert fast["total"] == fast["expected"] and plain["total"] == plain["expected"]
    assert fast["stalled"] == fast["early"], f"the sender went on: {fast}"
    assert fast["longest_us"] <= plain["longest_us"] + TIMER_US, f"{fast['longest_us']} us without a byte (plain: {plain['longest_us']})"
    assert timeouts[1] <= timeouts[0], timeouts
