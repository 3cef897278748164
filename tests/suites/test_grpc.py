# SPDX-License-Identifier: BSD-2-Clause
"""gRPC (Debian's python3-grpcio, on the C core that other languages use): it sets SO_ZEROCOPY on listeners, TCP_INQ on connections, and
reads from edge-triggered epoll no more than TCP_INQ says is there."""
import json
from pathlib import Path

import pytest
from support.program import EAGER, auto

PYTHON = "/usr/bin/python3"
PEER = Path(__file__).with_name("grpc_peer.py")


def checked(rounds):
    def workload(stage):
        port = stage.start(PYTHON, PEER, "server").wait_output("port ").split()[-1]
        seen = json.loads(stage.run(PYTHON, PEER, "client", port, rounds, timeout=240).out)
        assert seen["bad"] == 0
        return seen
    return workload


@pytest.mark.parametrize("arm", [EAGER, auto(1)], ids=str)
def test_grpc(compare, long, arm):
    compare(checked(1000 if long else 80), redirected=lambda seen: 0.2 * seen["bytes"], arms=(arm,))
