# SPDX-License-Identifier: BSD-2-Clause
"""Port reuse: 25,000 connections over few ports (100,000 at a scale of 4), a token of its own in each, both ways."""
import pytest

from support.namespaces import Netns
from support.program import EAGER, PLAIN, auto, built, run
from support.proof import proved
from support.scale import scaled

CASES = [
    # arm, connections, turns, close, least part of the connections that must have armed
    (PLAIN, scaled(2500), 2, "rst", 0),
    (EAGER, scaled(20_000), 2, "rst", 0.3),
    (EAGER, scaled(1250), 2, "mix", 0.1),
    (auto(1), scaled(3750), 6, "rst", 0.02),  # both ends must get to a join within the 6 turns: 60 % on an idle machine, 9 % on a busy one
]
assert sum(case[1] for case in CASES if case[0].accelerated) >= scaled(25_000)


@pytest.mark.parametrize("arm,connections,turns,close,armed", CASES, ids=lambda value: str(value))
def test_tokens_over_few_ports(helper, arm, connections, turns, close, armed):
    with Netns() as netns, helper.counting() as grown:
        result = run([built("conformance/exchange"), "both", f"connections={connections}", "concurrency=4", "port=7000",
                      "client_port=7100", "client_ports=8", f"turns={turns}", "message_max=512", f"close={close}",
                      "deadline=100"], arm, helper.socket, netns, timeout=110)
    assert result["connections"] == connections and result["mismatches"] == 0 and result["errors"] == 0
    print(f"{arm}: {connections} connections in {result['seconds']} s, {grown}")
    proved(grown["pairs_armed_total"] >= connections * armed, lambda: f"{grown}\n{helper.explain()}")
    if arm.accelerated:
        proved(grown["redirected_bytes"] > 0, lambda: f"{grown}\n{helper.explain()}")
        assert result["seconds"] < 60, "100,000 short connections must not take a minute"
