# SPDX-License-Identifier: BSD-2-Clause
"""Receives that spin before they sleep (SMACCEL_SPIN_US)."""
import os

import pytest

from support.program import EAGER, PLAIN, Arm, built, run
from support.proof import proved

SPIN = Arm("spin", "eager", {"SMACCEL_SPIN_US": "1000"})
ROUNDS = 100


# Without a look at the handlers after the spin 20 to 53 of 150 came when the time-out was over.
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU: nobody spins")
@pytest.mark.parametrize("arm", [PLAIN, EAGER, SPIN], ids=str)
def test_handler_ends_a_receive_with_a_timeout(helper, arm):
    with helper.counting() as grown:
        seen = run([built("conformance/spin_interrupted"), ROUNDS, 100, 60], arm, helper.socket, timeout=100)
    assert seen["late"] <= ROUNDS // 50, seen  # the alarm came before the call
    if arm.accelerated:
        proved(grown["redirected_msgs"] > 10 * ROUNDS and (arm is not SPIN or grown["spins"] > ROUNDS), grown)
