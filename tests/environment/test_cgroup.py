# SPDX-License-Identifier: BSD-2-Clause
"""A reader that may have no more memory: TCP's sender waits, and hears of no error. So does an accelerated one."""
import contextlib
import json
import os
import sys
from pathlib import Path

import pytest
from support.apps import wait_until
from support.helper import Helper
from support.program import EAGER, PLAIN, Program, auto
from support.proof import proved

PROGRAM = Path(__file__).with_name("starved.py")
MEMORY = Path("/sys/fs/cgroup/memory")
LIMIT = "memory.kmem.tcp.limit_in_bytes"
USAGE = "memory.kmem.tcp.max_usage_in_bytes"
LIMIT_BYTES = 400_000


def removed(group):
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()


@pytest.fixture
def group():
    """A memory cgroup of its own, in which sockets may have little. Of version 2 the limit is that of all memory, which ends processes."""
    if not (MEMORY / LIMIT).exists():
        pytest.skip("no memory cgroup of version 1 is mounted")
    path = MEMORY / f"smaccel-test-{os.getpid()}"
    path.mkdir()
    try:
        (path / LIMIT).write_text(str(LIMIT_BYTES))
        yield path
    finally:
        wait_until(lambda: removed(path), 10, lambda: f"{path} is in use")


@pytest.fixture(scope="module")
def charging():
    """A helper whose gate does not look whether the reader may have more memory: as where it could not see it coming."""
    with Helper("--test-no-memory") as running:
        yield running


def starve(helper, group, kind, arm):
    with helper.counting() as grown, Program([sys.executable, PROGRAM, group / "cgroup.procs", kind], arm, helper.socket) as run:
        assert run.wait(60) == 0, run.describe()
    assert json.loads(run.out) == {"errors": {}, "short": 0, "whole": True}, f"{run.out}\n{grown}\n{helper.explain()}"
    used = int((group / USAGE).read_text())
    proved(not arm.accelerated or grown["redirected_bytes"] > LIMIT_BYTES / 4, helper.explain)
    return used, grown


@pytest.mark.parametrize("arm", [PLAIN, EAGER, auto(2)], ids=str)
@pytest.mark.parametrize("kind", ["whole", "nonblocking", "sendfile", "timeout"])
def test_sender_to_a_reader_without_memory_hears_of_no_error(charging, group, kind, arm):
    used, grown = starve(charging, group, kind, arm)
    proved(used > 0.8 * LIMIT_BYTES, f"{used} bytes of {LIMIT_BYTES} at the most: the limit was not met")
    proved(arm is not EAGER or grown["leaves"] > 0, charging.explain)  # it has no other reason to


@pytest.mark.parametrize("arm", [EAGER, auto(2)], ids=str)
@pytest.mark.parametrize("kind", ["whole", "nonblocking"])
def test_what_a_reader_has_no_memory_for_is_left_to_tcp(helper, group, kind, arm):
    _, grown = starve(helper, group, kind, arm)
    proved(grown["spills"] > 0, helper.explain)
