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
from support.program import EAGER, PLAIN  # noqa: E402

from stage import PR_SET_CHILD_SUBREAPER, Stage  # noqa: E402

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

    redirected: a number, or a function of the result. 0 says that nothing need be redirected (a server whose sockets are
    inherited over exec, say); then the test says why.
    """

    def __init__(self, name, helper, rows):
        self.name = name
        self.helper = helper
        self.rows = rows

    def _run(self, workload, arm):
        begun = time.monotonic()
        with self.helper.counting() as grown, Stage(arm, self.helper.socket) as stage:
            result = workload(stage)
        self.rows.append(f"suite {self.name} {arm}: {time.monotonic() - begun:.1f} s, redirected {grown['redirected_bytes']} bytes "
                         f"in {grown['redirected_msgs']} messages, passed {grown['passed_bytes']}, armed {grown['pairs_armed_total']}")
        return result, grown

    def __call__(self, workload, redirected, arms=(EAGER,)):
        plain, grown = self._run(workload, PLAIN)
        assert plain is not None and grown["redirected_bytes"] == 0, "something else uses this helper"
        for arm in arms:
            seen, grown = self._run(workload, arm)
            assert seen == plain, f"differs under {arm}"
            wanted = redirected(seen) if callable(redirected) else redirected
            assert grown["redirected_bytes"] >= wanted, \
                f"{arm}: {grown['redirected_bytes']} bytes redirected instead of {wanted}\n{self.helper.explain()}"
        return plain


@pytest.fixture
def compare(request, helper):
    return Compare(f"{request.module.__name__.removeprefix('test_')} {request.node.name}", helper, request.config.stash[ROWS])
