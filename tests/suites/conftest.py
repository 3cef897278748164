# SPDX-License-Identifier: BSD-2-Clause
"""Other people's programs and suites, run on plain TCP and under the shim: the same results, and the bytes were redirected.

--long: big volumes, as `make check-suites` has it.
"""
import ctypes
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.fixtures import *  # noqa: E402,F401,F403
from support.helper import Helper  # noqa: E402
from support.program import EAGER, PLAIN, Arm  # noqa: E402
from support.proof import proved  # noqa: E402

from stage import PR_SET_CHILD_SUBREAPER, Stage  # noqa: E402

MIXED = Arm("mixed", "eager")
MIXED_BOUND = 100_000  # bytes unread that may have been redirected: a write or two
ROWS = pytest.StashKey()


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="big volumes")


def pytest_configure(config):
    config.stash[ROWS] = []
    config.addinivalue_line("markers", "long: part of the long form only")
    # What daemons leave behind becomes a child of this process, which ends it.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        items[:] = [item for item in items if not item.get_closest_marker("long")]


def pytest_terminal_summary(terminalreporter, config):
    for row in config.stash[ROWS]:
        terminalreporter.write_line(row)


@pytest.fixture
def long(request):
    return request.config.getoption("--long")


class Compare:
    """compare(workload, redirected=N): the workload in each arm. Its results must be equal, and at least N bytes redirected.

    redirected: a number, a function of the result, or a dict of these by arm. 0 says that nothing need be redirected (a server
    whose sockets are inherited over exec, say); then the test says why.
    In the long form there is one arm more: mixed, eager with a small bound, where redirected and passed bytes follow each other
    all the time.
    """

    def __init__(self, name, helper, mixed_helper, rows):
        self.name = name
        self.helper = helper
        self.mixed_helper = mixed_helper
        self.rows = rows

    def _run(self, workload, arm, helper):
        begun = time.monotonic()
        with helper.counting() as grown, Stage(arm, helper.socket) as stage:
            result = workload(stage)
        self.rows.append(f"suite {self.name} {arm}: {time.monotonic() - begun:.1f} s, redirected {grown['redirected_bytes']} bytes "
                         f"in {grown['redirected_msgs']} messages, passed {grown['passed_bytes']}, armed {grown['pairs_armed_total']}")
        return result, grown["redirected_bytes"]

    def __call__(self, workload, redirected, arms=(EAGER,)):
        wanted = redirected if isinstance(redirected, dict) else dict.fromkeys(arms, redirected)
        plain, moved = self._run(workload, PLAIN, self.helper)
        assert plain is not None and moved == 0, "something else uses this helper"
        runs = [(arm, self.helper, least) for arm, least in wanted.items()]
        if self.mixed_helper and EAGER in wanted:
            runs.append((MIXED, self.mixed_helper, 1 if wanted[EAGER] != 0 else 0))
        for arm, helper, least in runs:
            seen, moved = self._run(workload, arm, helper)
            assert seen == plain, f"differs under {arm}"
            least = least(seen) if callable(least) else least
            proved(moved >= least, lambda moved=moved, least=least: f"{arm}: {moved} bytes redirected instead of {least}\n{helper.explain()}")
        return plain


@pytest.fixture(scope="module")
def mixed_helper(request, root_only):
    if not request.config.getoption("--long"):
        yield None
        return
    with Helper("--test-bound", MIXED_BOUND) as running:
        yield running


@pytest.fixture
def compare(request, helper, mixed_helper):
    name = f"{request.module.__name__.removeprefix('test_')} {request.node.name}"
    return Compare(name, helper, mixed_helper, request.config.stash[ROWS])
