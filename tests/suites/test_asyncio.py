# SPDX-License-Identifier: BSD-2-Clause
"""Python's asyncio streams, http.server's threads, requests: servers and clients that check every byte."""
import json
from pathlib import Path

import pytest
from support.program import EAGER, auto

HERE = Path(__file__).parent


def checked(rounds):
    def workload(stage):
        ports = stage.start("/usr/bin/python3", HERE / "asyncio_server.py").wait_output("ports ").split()
        return json.loads(stage.run("/usr/bin/python3", HERE / "asyncio_client.py", *ports, rounds, timeout=120).out)
    return workload


@pytest.mark.parametrize("arm", [EAGER, auto(1)], ids=str)
def test_asyncio(compare, long, arm):
    compare(checked(400 if long else 20), redirected=lambda seen: 0.2 * seen["bytes"], arms=(arm,))
