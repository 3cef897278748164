# SPDX-License-Identifier: BSD-2-Clause
"""memcached, unmodified, as an unprivileged user, with several threads, and a client that checks every answer."""
import sys
from pathlib import Path

import pytest
from support.apps import ARMS, Server
from support.program import run
from support.proof import proved

CHECK = Path(__file__).with_name("memcached_check.py")


def memcached(port, _directory):
    return ["memcached", "-u", "nobody", "-l", "127.0.0.1", "-p", port, "-U", 0, "-m", 64, "-I", "1m", "-t", 2]


@pytest.mark.parametrize("arm", ARMS, ids=str)
def test_memcached_answers(helper, arm):
    with Server(memcached, arm, helper.socket) as server, helper.counting() as grown:
        seen = run([sys.executable, CHECK, server.port, 1], arm, helper.socket, timeout=30)
    assert seen["answers"] > 200
    if arm.accelerated:
        proved(grown["redirected_bytes"] > 0.25 * seen["bytes"], lambda: f"{seen} {grown}\n{helper.explain()}")
