# SPDX-License-Identifier: BSD-2-Clause
"""An end that is armed owes its peer no acknowledgement: a redirected message carries none, and for want of it Nagle's algorithm would hold, up to
40 ms, what the peer sends by TCP again."""
import json
import sys
from pathlib import Path

import pytest

from support.program import PLAIN, Program, auto
from support.proof import proved

PROGRAM = Path(__file__).with_name("acknowledged.py")
CONNECTIONS, TURNS = 30, 60


@pytest.mark.parametrize("arm", [PLAIN, auto(2)], ids=str)
def test_nothing_is_unacknowledged_once_it_is_armed(helper, arm):
    with helper.counting() as grown, Program([sys.executable, PROGRAM, "answers", CONNECTIONS, TURNS, 0], arm, helper.socket) as server:
        port = server.wait_output("port ")
        with Program([sys.executable, PROGRAM, "asks", CONNECTIONS, TURNS, port], arm, helper.socket) as client:
            statuses = [program.wait(30) for program in (client, server)]
        assert statuses == [0, 0], server.err + client.err
        answers, asks = (json.loads(program.out.splitlines()[-1])["unacknowledged"] for program in (server, client))
    if arm.accelerated:
        proved(grown["pairs_armed_total"] >= CONNECTIONS // 2 and grown["redirected_msgs"] > CONNECTIONS * TURNS // 2, helper.explain)
        late = 2 * max(0, CONNECTIONS - grown["pairs_armed_total"])  # ends that were plain TCP to their end
        assert answers + asks <= 2 + late, f"{answers} of the answering end, {asks} of the asking one"
    else:
        assert answers > 0, "plain TCP would show none either"
