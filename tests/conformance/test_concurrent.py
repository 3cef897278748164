# SPDX-License-Identifier: BSD-2-Clause
"""Messages of several senders stay whole, and what one of several readers gets lies together in the stream, whichever way it came."""
import pytest

from support.program import EAGER, PLAIN, auto, built, run
from support.proof import proved
from support.scale import scaled

COUNT = {"senders": 3, "readers": 3}
SECONDS = 0.6
SHORT_SECONDS = 0.08


@pytest.mark.parametrize("arm", [PLAIN, EAGER, auto(1)], ids=str)
@pytest.mark.parametrize("how", ["threads", "processes"])
@pytest.mark.parametrize("what", COUNT)
def test_nothing_is_torn(helper, what, how, arm):
    with helper.counting() as grown:
        results = [run([built("conformance/concurrent"), what, how, COUNT[what], SECONDS], arm, helper.socket, timeout=40) for _ in range(scaled(2) if arm.accelerated else 1)]
    assert not any(result["torn"] for result in results), results
    proved(min(result["messages"] for result in results) > 100, results)  # in a second, of three processes that want a CPU
    if arm.accelerated:
        proved(grown["redirected_msgs"] > 100, lambda: f"{grown}\n{helper.explain()}")


@pytest.mark.parametrize("arm", [PLAIN, EAGER], ids=str)
@pytest.mark.parametrize("what, how", [("passed", "threads"), ("passed", "processes"), ("passed", "stopped"), ("readers", "stopped")])
def test_nothing_is_torn_soon_after(helper, what, how, arm):
    """A connection was passed to them, or one of them gets no CPU for longer than others wait for it. Both are over soon: many short runs."""
    with helper.counting() as grown:
        results = [run([built("conformance/concurrent"), what, how, 3, SHORT_SECONDS], arm, helper.socket, timeout=40) for _ in range(scaled(40) if arm.accelerated else 2)]
    assert not any(result["torn"] for result in results), results
    if arm.accelerated:
        proved(grown["redirected_msgs"] > 100, lambda: f"{grown}\n{helper.explain()}")
