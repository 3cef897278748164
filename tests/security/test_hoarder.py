# SPDX-License-Identifier: BSD-2-Clause
"""Pairs that are to leave wait until they are drained. A user who has thousands that never are does not keep others from leaving."""
import os
import shutil

from support.apps import NOBODY
from support.program import Program, built

PAIRS = 4200        # more than the helper looks after for all users together
FDS = 2 * PAIRS + 100


def test_others_can_leave(helper):
    program = shutil.copy(built("security/hoarder"), helper.directory)
    os.chmod(program, 0o755)
    read_end, write_end = os.pipe()
    with Program(["prlimit", f"--nofile={FDS}", *NOBODY, program, helper.socket, "hoard", PAIRS], stdin=read_end) as hoard:
        os.close(read_end)
        hoard.wait_output("hoarding", 60)
        with Program([program, helper.socket, "leave"]) as honest:
            assert honest.wait(20) == 0, honest.describe() + str(helper.explain())
        os.close(write_end)
        assert hoard.wait(20) == 0, hoard.describe()
