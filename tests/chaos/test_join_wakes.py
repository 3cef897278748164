# SPDX-License-Identifier: BSD-2-Clause
"""Whoever waits for a join is woken when it is answered, also when many wait: the answers of a turn of the helper are told at its
end (helper/wakes.c). A wake-up that is lost costs what the shim waits at the most, and fails nothing.

With the wake-ups left out 85 to 98 % of the calls were late; with those left out that are not the first, or the last, of their
turn, 24 and 29 % of 20 processes' calls."""
import pytest
from support.helper import Helper
from support.program import EAGER, built, run
from support.proof import proved

LATE_MS = 45    # the shim waits 50 ms
CALLS = 600


@pytest.mark.parametrize("processes", [1, 4, 20])
def test_who_waits_for_a_join_is_woken(processes):
    with Helper() as helper, helper.counting() as grown:
        seen = run([built("chaos/join_wakes"), processes, CALLS // 2 // processes, LATE_MS], EAGER, helper.socket)
    assert seen["calls"] == CALLS, seen
    # Whose wake-up is lost has joined all the same; what a helper without a CPU did not answer in time was late, and has not.
    proved(grown["sockets_joined"] >= 0.9 * CALLS, (seen, grown))
    # A machine that stands still makes a call of each process late: three times.
    assert seen["late"] <= 0.1 * CALLS + max(0, CALLS - grown["sockets_joined"]), (seen, grown)
