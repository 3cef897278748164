# SPDX-License-Identifier: BSD-2-Clause
"""close() in one thread while another is in the middle of an offer or a join: no crash, FIN at once, nothing is left."""
import pytest
from support.apps import median, wait_until
from support.program import auto, built, run
from support.scale import scaled


# With the cell looked at again after another thread's close() had taken it away, the client ended with SIGSEGV within
# 1,500 rounds, which is a scale of 3, at a delay of up to 400 us, in each of two tries.
@pytest.mark.parametrize("delay_us", [400, 800])
@pytest.mark.parametrize("turns", [1, 2])
def test_close_while_joining(helper, turns, delay_us):
    result = run([built("chaos/close_race"), scaled(500), delay_us], auto(turns), helper.socket, timeout=60)
    assert median(result["us"]) <= 5000, sorted(result["us"])
    wait_until(lambda: helper.totals()["pairs_armed"] == 0, 10, helper.explain)
