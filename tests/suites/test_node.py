# SPDX-License-Identifier: BSD-2-Clause
"""Node.js: http with kept-alive connections, raw sockets with back-pressure and half-close, a connection that the server drops."""
import json
from pathlib import Path

import pytest
from support.program import EAGER, auto

CHECK = Path(__file__).with_name("node_check.js")


def checked(rounds):
    def workload(stage):
        ports = stage.start("node", CHECK, "server").wait_output("ports ").split()
        return json.loads(stage.run("node", CHECK, "client", *ports, rounds, timeout=120).out)
    return workload


@pytest.mark.parametrize("arm", [EAGER, auto(1)], ids=str)
def test_node(compare, long, arm):
    seen = compare(checked(100 if long else 5), redirected=lambda seen: 0.2 * seen["total"], arms=(arm,))
    assert seen["dropped"] == "ECONNRESET"
