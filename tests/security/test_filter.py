# SPDX-License-Identifier: BSD-2-Clause
"""The helper's filter of system calls refuses none that the helper makes: that would show as nothing but slowness, or not at all."""
import contextlib
import subprocess

from support.apps import wait_until
from support.helper import Helper
from support.program import EAGER, built, run


@contextlib.contextmanager
def failing(helper, path):
    """What fails meanwhile of the helper's calls, into that file."""
    with subprocess.Popen(["strace", "-f", "-Z", "-o", str(path), "-p", str(helper.pid)], stderr=subprocess.PIPE, text=True) as trace:
        seen = trace.stderr.readline()
        assert "attached" in seen, seen
        yield
        trace.terminate()
        trace.communicate(timeout=10)


def test_no_call_of_the_helper_is_refused(tmp_path):
    path = tmp_path / "calls"
    with Helper() as helper:
        with failing(helper, path):
            for what in "senders", "readers":
                run([built("conformance/concurrent"), what, "processes", 2, 0.3], EAGER, helper.socket, timeout=40)
            assert helper.totals()["redirected_msgs"] > 0
            wait_until(lambda: helper.status()["helper"]["sessions"] == 0, 10, helper.explain)
            helper.ask("ss")
        calls = path.read_text()
        assert "EAGAIN" in calls, f"nothing was traced: {calls}"
        assert "EPERM" not in calls, [line for line in calls.splitlines() if "EPERM" in line]
