# SPDX-License-Identifier: BSD-2-Clause
"""Connections that go on in another program or process than the one that accepted them."""
import pytest

from support.program import EAGER, PLAIN, auto, built, run
from support.proof import proved


@pytest.mark.parametrize("how, answers, end", [(["executed"], 0, "reset"), (["spawned", "5"], 10, "end"), (["spawned", "30"], 10, "end"),
                                               (["spawned", "300"], 10, "end")], ids=lambda value: "-".join(value) if isinstance(value, list) else "")
@pytest.mark.parametrize("arm", [PLAIN, EAGER, auto(1)], ids=str)
def test_the_peer_notices_nothing(helper, arm, how, answers, end):
    with helper.counting() as grown:
        result = run([built("conformance/heirs"), *how], arm, helper.socket, timeout=40)
    assert (result["answers"], result["end"]) == (answers, end), (result, grown)
    if arm.accelerated:
        proved(grown["redirected_bytes"] > 1000, lambda: f"{grown}\n{helper.explain()}")
