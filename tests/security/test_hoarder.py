# SPDX-License-Identifier: BSD-2-Clause
"""A user who has a great many of something does not keep others from what is theirs."""
import os
import shutil

from support.apps import NOBODY
from support.program import Program, built

PAIRS = 4200        # undrained and to leave: more than the helper looks after for all users together
DOORS = 3000        # with a request in each
FDS = 2 * PAIRS + 100
PATIENCE_S = 3      # the honest one does a dozen things that take microseconds


def copy_for_everybody(helper):
    program = shutil.copy(built("security/hoarder"), helper.directory)
    os.chmod(program, 0o755)
    return program


def test_others_are_served(helper):
    program = copy_for_everybody(helper)
    with Program(["prlimit", f"--nofile={FDS}", *NOBODY, program, helper.socket, "flood", DOORS]) as flood:
        flood.wait_output("flooding", 30)
        for _ in range(3):
            with Program([program, helper.socket, "leave"]) as honest:
                assert honest.wait(PATIENCE_S) == 0, honest.describe()
        assert flood.process.poll() is None, flood.describe()


def test_others_can_leave(helper):
    program = copy_for_everybody(helper)
    read_end, write_end = os.pipe()
    with Program(["prlimit", f"--nofile={FDS}", *NOBODY, program, helper.socket, "hoard", PAIRS], stdin=read_end) as hoard:
        os.close(read_end)
        hoard.wait_output("hoarding", 60)
        with Program([program, helper.socket, "leave"]) as honest:
            assert honest.wait(20) == 0, honest.describe() + str(helper.explain())
        os.close(write_end)
        assert hoard.wait(20) == 0, hoard.describe()
