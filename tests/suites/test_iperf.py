# SPDX-License-Identifier: BSD-2-Clause
"""iperf3: a fixed number of bytes both ways and over several streams. Its report says what arrived; it is not about speed."""
import json

import pytest
from stage import STREAM_LEAST
from support.program import EAGER, auto

WAYS = {"up": [], "down": ["--reverse"], "both": ["--bidir"], "streams": ["-P", "4"], "odd": ["--len", "12345", "--no-delay"],
        "checked": ["--file", "/dev/zero"]}

ODD_LEAST = 5 * 12345


def transfer(options, size):
    def workload(stage):
        port = stage.port()
        stage.start("iperf3", "--server", "--one-off", "--forceflush", "--bind", "127.0.0.1", "--port", port).wait_output("Server listening")
        done = stage.run("iperf3", "--client", "127.0.0.1", "--port", port, "--bytes", size, "--json", *options, timeout=60)
        end = json.loads(done.out)["end"]
        # With traffic both ways the first to be done ends the other; what is under way then is not counted by the receiver.
        return max(total["bytes"] for name, total in end.items() if name.startswith("sum_sent")) >= size
    return workload


@pytest.mark.parametrize("way", WAYS)
def test_iperf(compare, long, way):
    size = (2 << 30) if long else (64 << 20)
    # With others on its CPU the sender mostly finds a backlog: a few writes of odd length have gone by the sockhash then (173 kB of 64 MB, seen).
    redirected = {EAGER: ODD_LEAST if way == "odd" else min(0.02 * size, STREAM_LEAST)}
    if way == "up":  # a stream that begins on TCP is never without a backlog where others keep the CPUs busy
        redirected[auto(1)] = 1
    assert compare(transfer(WAYS[way], size), redirected)
