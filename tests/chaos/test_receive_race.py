# SPDX-License-Identifier: BSD-2-Clause
"""close() and dup2() in one thread while another is in a receive that wants more: it gets that, as over TCP, and nothing is left of it.

Without what held.h does for receives the first of 300 rounds with a close in the middle ended with EINTR."""
import pytest
from support.program import EAGER, PLAIN, Arm, built, run

ROUNDS = 300
SPIN = Arm("spin", "eager", {"SMACCEL_SPIN_US": "200"})


@pytest.mark.parametrize("arm", [PLAIN, EAGER, SPIN], ids=str)
def test_close_while_receiving(helper, arm):
    with helper.counting() as grown:
        seen = run([built("chaos/receive_race"), ROUNDS], arm, helper.socket, timeout=80)
    assert (seen["parts"], seen["fds_left"]) == (0, 0), seen
    if arm.accelerated:
        assert grown["redirected_msgs"] > 10 * ROUNDS, grown
