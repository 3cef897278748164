# SPDX-License-Identifier: BSD-2-Clause
"""The late server: what the client sent before accept() is read first, whenever the two ends join."""
import pytest

from support.program import EAGER, PLAIN, auto, built, run
from support.proof import proved


@pytest.mark.parametrize("how", ["thread", "process"])
@pytest.mark.parametrize("arm", [PLAIN, EAGER, auto(1), auto(4)], ids=str)
def test_late_server_order(helper, arm, how):
    iterations = 150
    with helper.counting() as grown:
        result = run([built("conformance/late_server"), how, f"iterations={iterations}", "deadline=60"], arm,
                     helper.socket, timeout=70)
    assert result["iterations"] == iterations and result["mismatches"] == 0
    if arm.accelerated:
        # Many connections must have armed: else this shows nothing. An eager end always joins; one that asks first learns
        # that a reader with a backlog does not pay, so about half of its connections join.
        least = iterations / 2 if arm == EAGER else iterations / 10
        proved(grown["pairs_armed_total"] >= least, lambda: f"{grown}\n{helper.explain()}")
        proved(grown["redirected_bytes"] > 0, lambda: f"{grown}\n{helper.explain()}")
        proved(grown["passed_bytes"] > 0, "the early bytes went through TCP")
