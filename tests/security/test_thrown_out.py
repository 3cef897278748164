# SPDX-License-Identifier: BSD-2-Clause
"""A user with thousands of sessions is thrown out: nobody else waits for the end of it."""
import os
import shutil
import signal

from support.apps import NOBODY
from support.helper import Helper
from support.program import Program, built

SESSIONS = 3000
FDS = 2 * SESSIONS
TRIES = 3


def sessions_seen_meanwhile():
    """How many there were, each time that the helper answered another user."""
    with Helper() as helper:
        program = shutil.copy(built("security/thrown_out"), helper.directory)
        os.chmod(program, 0o755)
        read_end, write_end = os.pipe()
        with Program(["prlimit", f"--nofile={FDS}", *NOBODY, program, helper.socket, SESSIONS], stdin=read_end) as thrown:
            os.close(read_end)
            thrown.wait_output("ready", 60)
            seen = [helper.status()["helper"]["sessions"]]
            os.kill(helper.pid, signal.SIGSTOP)
            os.write(write_end, b"\n")
            thrown.wait_output("sent", 20)
            os.kill(helper.pid, signal.SIGCONT)
            while seen[-1] and len(seen) < 2000:
                seen.append(helper.status()["helper"]["sessions"])
            thrown.wait_output("out", 40)
            os.close(write_end)
            assert thrown.wait(20) == 0, thrown.describe()
        return seen


def test_others_are_served_meanwhile():
    for _ in range(TRIES):
        seen = sessions_seen_meanwhile()
        assert seen[0] == SESSIONS + 1 and seen[-1] == 0, seen
        if any(0 < count < SESSIONS for count in seen):
            return
    assert False, seen
