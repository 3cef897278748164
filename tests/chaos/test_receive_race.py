# SPDX-License-Identifier: BSD-2-Clause
"""close() and dup2() in one thread while another is in a receive that wants more: it gets that, as over TCP, and nothing is left of it.

Without what held.h does for receives the first of 300 rounds with a close in the middle ended with EINTR."""
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.helper import Helper
from support.program import EAGER, PLAIN, Arm, Program, auto, built, run
from support.proof import proved

ROUNDS, PLAIN_ROUNDS = 300, 75  # what is looked for is the library's; of plain TCP only that the program is right
TRIES = 8
SPIN = Arm("spin", "eager", {"SMACCEL_SPIN_US": "200"})


@pytest.mark.parametrize("arm", [PLAIN, EAGER, SPIN, auto(1)], ids=str)
def test_close_while_receiving(helper, arm):
    with helper.counting() as grown:
        seen = run([built("chaos/receive_race"), ROUNDS if arm.accelerated else PLAIN_ROUNDS], arm, helper.socket, timeout=80)
    assert (seen["parts"], seen["fds_left"]) == (0, 0), seen
    if arm.accelerated:
        proved(grown["redirected_msgs"] > ROUNDS, grown)


def begun_while_closed(arm, helper):
    argv = [sys.executable, Path(__file__).with_name("begun_while_closed.py")]
    with Program(argv, arm, helper.socket, stdin=subprocess.PIPE) as program:
        program.wait_output('{"ready": true}')
        os.kill(helper.pid, signal.SIGSTOP)
        try:
            program.process.stdin.write(b"\n")
            program.process.stdin.close()
            return program.result(20)
        finally:
            os.kill(helper.pid, signal.SIGCONT)


@pytest.mark.parametrize("arm", [PLAIN, EAGER], ids=str)
def test_a_receive_that_begins_while_the_number_is_closed_skips_nothing(arm):
    """Plain TCP says EBADF, or what is there. The helper is stopped, so that the close takes its time; what is longer than 8 bytes passes."""
    whole = "x" * 100 + "abcd" + "y" * 100
    with Helper("--test-bound", 8) as helper:
        for _ in range(TRIES):  # on a busy machine the close may be over first
            with helper.counting() as grown:
                said = begun_while_closed(arm, helper)
            assert said["bytes"] == whole[:len(said["bytes"])], said
            if said["bytes"] or arm is PLAIN:
                break
    if arm.accelerated:
        assert grown["redirected_bytes"] > 100 and said["bytes"], (grown, said)
