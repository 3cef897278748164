# SPDX-License-Identifier: BSD-2-Clause
"""Connections leave when their traffic does not pay and come back when it does; destinations that never pay are left alone."""
import pytest

from support.helper import Helper
from support.program import AUTO, PLAIN, auto, built, run

CONNECTIONS = 8
# A join or a leave takes a millisecond; this machine may take long to give a thread its turn.
GAP_MAX_US = 3_000_000


@pytest.mark.parametrize("arm", [PLAIN, AUTO, auto(1)], ids=str)
def test_phases_leave_and_return(arm):
    """Kinds of traffic that alternate, every byte position-coded, readers of their own and non-blocking fds among them."""
    with Helper() as helper:
        with helper.counting() as grown:
            result = run([built("conformance/phases"), f"connections={CONNECTIONS}", "seconds=4", "deadline=60"], arm,
                         helper.socket, timeout=70)
        assert result["verified"] > 1e7
        assert result["longest_gap_us"] < GAP_MAX_US, result
        if not arm.accelerated:
            assert grown["sockets_joined"] == 0
            return
        assert grown["redirected_bytes"] > 1e6, f"{grown}\n{helper.explain()}"
        assert grown["leaves"] >= 2 * CONNECTIONS, f"{grown}\n{helper.explain()}"
        # twice and more, both ends: the accounts were exact after each leave
        assert grown["sockets_joined"] >= 4 * CONNECTIONS, f"{grown}\n{helper.explain()}"
        # A helper without a CPU answers late, and a call that goes on meanwhile is refused once; wrong accounts always are.
        refused = helper.status()["refusals"].get("unseen-traffic", 0)
        assert refused <= grown["sockets_joined"] / 10, f"accounts that are not exact: {refused} of {grown}"
