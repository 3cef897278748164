# SPDX-License-Identifier: BSD-2-Clause
"""A receive window that has grown to the whole of tcp_rmem[2], or of SO_RCVBUF, before its connection joins: fact 12b leaves no room then.

A stream comes to redirect all the same, and its TCP_WINDOW_CLAMP, which is set for that, is never seen by the application. If its reader
stalls, then nothing waits for a timer, as without it."""
import pytest

from support.namespaces import Netns
from support.program import PLAIN, Program, auto, built, run
from support.proof import proved

BULK_MEBI = 64
CLAMP = 256 << 10
RCVBUF = 4 << 20  # of which the gate redirects into a half: more than a sender of the shim has in flight
GROWING_TURNS = 5000  # as in growing.h
AUTO = auto(GROWING_TURNS)
STALL_MS = 5_000
TIMER_US = 500_000
LIFTED = 64 << 20  # as in grown_window.c

both_arms = pytest.mark.parametrize("arm", [PLAIN, AUTO], ids=str)


def grown_window(helper, arm, way, rcvbuf=0):
    """What the program says, and what the helper has counted meanwhile."""
    with Netns() as netns:
        with helper.counting() as grown:
            result = run([built("conformance/grown_window"), f"bulk_mebi={BULK_MEBI}", f"rcvbuf={rcvbuf}", f"way={way}", "deadline=60"], arm, helper.socket,
                         netns=netns, timeout=70)
    return result, grown


@both_arms
@pytest.mark.parametrize("rcvbuf", [0, RCVBUF], ids=["tuned", "set"])
@pytest.mark.parametrize("way", ["option", "pinned"])
def test_a_grown_window_is_no_obstacle(helper, arm, way, rcvbuf):
    result, grown = grown_window(helper, arm, way, rcvbuf)
    assert result["before"] > CLAMP, result
    assert result["told"] == result["told_left"] == result["real_left"], result
    assert result["told"] >= result["before"] * 0.9, result  # the kernel's own changes with the sizes of what comes
    if arm.accelerated:
        assert result["real"] == CLAMP, result
        assert result["by_tcp"] <= result["bulk"] / 2, result  # without a clamp: all of it
        proved(grown["redirected_bytes"] >= result["bulk"] / 2, grown)
    else:
        assert grown["sockets_joined"] == 0
    assert result["parts"], "an answer of 1, 2 or 3 bytes is not the beginning of the whole one"


@both_arms
def test_what_the_kernel_has_lifted_stays(helper, arm):
    result, grown = grown_window(helper, arm, "lifted")
    assert result["told_left"] == result["real_left"] == LIFTED, result
    assert (grown["redirected_bytes"] > 0) == arm.accelerated, grown


@both_arms
def test_another_process_finds_no_clamp(helper, arm):
    """It knows nothing of one, so it would be told of it, and would never lift it. So none is set, and little is redirected."""
    result, grown = grown_window(helper, arm, "shared")
    assert result["told"] == result["told_left"] == result["real"], result
    assert result["told"] >= result["before"] * 0.9, result
    assert (grown["sockets_joined"] >= 2) == arm.accelerated, grown


@pytest.mark.parametrize("blocking", [0, 1])
def test_a_stalled_reader_waits_for_no_timer(helper, blocking):
    argv = [built("conformance/stalled_reader"), "grow=1", f"blocking={blocking}", f"stall_ms={STALL_MS}", "deadline=60"]
    with Netns() as here, Netns() as there:
        with Program(argv, PLAIN, helper.socket, here) as first, Program(argv, AUTO, helper.socket, there) as second:
            plain, fast = first.result(70), second.result(70)
        timeouts = [netns.netstat()["TCPTimeouts"] for netns in (here, there)]
    proved(fast["grown_redirects"], fast)  # it came to redirect before its reader stalled: not where it got no CPU until then
    assert fast["total"] == fast["expected"] and plain["total"] == plain["expected"]
    assert fast["stalled"] == fast["early"], f"the sender went on: {fast}"
    assert fast["longest_us"] <= plain["longest_us"] + TIMER_US, f"{fast['longest_us']} us without a byte (plain: {plain['longest_us']})"
    assert timeouts[1] <= timeouts[0], timeouts
