# SPDX-License-Identifier: BSD-2-Clause
"""A stream whose receive window has grown to the whole of tcp_rmem[2] before it joins (fact 12b leaves no room then) comes to redirect,
and its TCP_WINDOW_CLAMP, which is set for that, is never seen by the application."""
import pytest

from support.namespaces import Netns
from support.program import PLAIN, auto, built, run

BULK_MEBI = 64
CLAMP = 256 << 10
GROWING_TURNS = 5000  # as in growing.h


@pytest.mark.parametrize("arm", [PLAIN, auto(GROWING_TURNS)], ids=str)
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
