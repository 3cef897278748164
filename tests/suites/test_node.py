# SPDX-License-Identifier: BSD-2-Clause
"""Node.js: http with kept-alive connections, raw sockets with back-pressure and half-close, a connection that the server drops. And a
server of several processes, whose connections come by SCM_RIGHTS."""
import json
from pathlib import Path

import pytest
from support.program import EAGER, auto

CHECK = Path(__file__).with_name("node_check.js")
# An eager end has joined before it is passed on, and stays pinned for up to a second where the first request is there by then.
LEAST = {("eager", "server"): 0.2, ("auto1", "server"): 0.2, ("eager", "cluster"): 0.01, ("auto1", "cluster"): 0.2}


def checked(server, rounds):
    def workload(stage):
        ports = stage.start("node", CHECK, server).wait_output("ports ").split()
        return json.loads(stage.run("node", CHECK, "client", *ports, rounds, timeout=120).out)
    return workload


@pytest.mark.parametrize("server", ["server", "cluster"])
@pytest.mark.parametrize("arm", [EAGER, auto(1)], ids=str)
def test_node(compare, long, arm, server):
    seen = compare(checked(server, 100 if long else 3), redirected=lambda seen: LEAST[arm.name, server] * seen["total"], arms=(arm,))
    assert seen["dropped"] == "ECONNRESET"
