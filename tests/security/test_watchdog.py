# SPDX-License-Identifier: BSD-2-Clause
"""A socket's lock that a client keeps: the helper ends, for others' sake. One whose holder gets no CPU: the helper waits."""
import json
import subprocess

import pytest
from support.helper import Helper
from support.program import built

SKIP_STATUS = 77
STARVED_S = 2       # the watchdog alone would have had enough after 1.25 s
PATIENCE_S = 25     # where other load looks like starvation, the watchdog takes its time: 20 s at most
WAITS = "--test-wait-for-locks"  # as where the lock is taken after the helper has looked
REFUSED, BUSY = 3, "busy"
ANSWERS = (2, 3)    # CELL_DONE, CELL_REFUSED


def locked_socket(helper, how, seconds):
    done = subprocess.run([built("security/locked_socket"), str(helper.socket), how, str(seconds)], timeout=PATIENCE_S + 10,
                          capture_output=True, text=True)
    if done.returncode == SKIP_STATUS:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stderr + helper.log
    return json.loads(done.stdout)


def test_a_lock_that_is_kept_ends_the_helper():
    with Helper(WAITS) as helper:
        seen = locked_socket(helper, "held", PATIENCE_S)
        assert seen["hung_up_ms"] >= 0, helper.log
        assert helper.process.wait(10) == -9 and "stuck" in helper.log, helper.log


@pytest.mark.parametrize("how", ["starved", "overrun"])
def test_a_lock_whose_holder_starves_does_not(how):
    """starved: one CPU is taken by a real-time thread; overrun: all are."""
    with Helper(WAITS) as helper:
        assert locked_socket(helper, how, STARVED_S)["answer"] in ANSWERS, helper.log
        assert helper.process.poll() is None and helper.status()["helper"]["pid"] == helper.pid, helper.log


def test_a_lock_that_is_kept_is_not_waited_for():
    """A join is refused, for now, and the helper goes on."""
    with Helper() as helper:
        assert locked_socket(helper, "refused", STARVED_S) == {"answer": REFUSED, "reason": BUSY}, helper.log
        assert helper.process.poll() is None and helper.status()["refusals"] == {BUSY: 1}, helper.log
