# SPDX-License-Identifier: BSD-2-Clause
"""A person with a range of subordinate uids, as for rootless containers, is many users. The administrator still gets in."""
import contextlib
import os
import subprocess
import sys

import pytest
from support.apps import fd_count, wait_until
from support.helper import Helper
from support.program import BUILD, Program

FILES = 1024        # that the helper may have
FEW_LEFT = 300
USERS = 8
DOORS = 300         # each wants; more than the helper gives one user

OPENS = """
import os, socket, sys
for uid in range(200000, 200000 + int(sys.argv[2])):
    if os.fork():
        continue
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    doors = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(int(sys.argv[3]))]
    for door in doors:
        door.connect(sys.argv[1])
    os.write(1, b"connected\\n")
    sys.stdin.read()
    os._exit(0)
sys.stdin.read()
"""


class Bounded(Helper):
    """May have few files, and has not the capability to have more."""

    prefix = ("setpriv", "--bounding-set=-sys_resource", "prlimit", f"--nofile={FILES}:{FILES}")


@contextlib.contextmanager
def many_users(helper):
    read_end, write_end = os.pipe()
    with Program([sys.executable, "-c", OPENS, helper.socket, USERS, DOORS], stdin=read_end) as users:
        os.close(read_end)
        wait_until(lambda: users.out.count("connected") == USERS, 30, users.describe)
        yield
        os.close(write_end)
        assert users.wait(20) == 0, users.describe()


def switch(helper, command):
    return subprocess.run([str(BUILD / "smaccel"), command], env={"SMACCEL_SOCKET": str(helper.socket)}, timeout=15, check=False,
                          capture_output=True, text=True)


def newcomers_refused(helper):
    with contextlib.suppress(AssertionError):  # on a busy machine an answer may be late
        return helper.status()["refusals"].get("table-full")


@pytest.mark.parametrize("command", ["off", "on"])
def test_root_gets_in(command):
    with Bounded() as helper:
        before = fd_count(helper.pid)
        with many_users(helper):
            wait_until(lambda: fd_count(helper.pid) > FILES - FEW_LEFT, 10, lambda: fd_count(helper.pid))
            for _ in range(5):
                wait_until(lambda: switch(helper, command).returncode == 0, 20, lambda: switch(helper, command).stderr)
                wait_until(lambda: newcomers_refused(helper), 20, helper.explain)
        wait_until(lambda: fd_count(helper.pid) <= before, 10, lambda: fd_count(helper.pid))
