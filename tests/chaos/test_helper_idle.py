# SPDX-License-Identifier: BSD-2-Clause
"""A helper that has nothing to do sleeps: no thread of it wakes up, and with armed pairs only the sweep, once a second."""
import os
import time
from pathlib import Path

from support.apps import Commanded, wait_until
from support.helper import Helper
from support.program import EAGER, built

WINDOW_S = 2.2
PATIENCE_S = 20     # the watchdog goes to sleep some 2 s after the last request


def wake_ups(pid):
    """Voluntary context switches so far, by thread."""
    counts = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        lines = Path(f"/proc/{pid}/task/{task}/status").read_text().splitlines()
        counts[task] = next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return counts


def in_window(pid):
    before = wake_ups(pid)
    time.sleep(WINDOW_S)
    return sum(count - before.get(task, 0) for task, count in wake_ups(pid).items())


def test_an_idle_helper_sleeps():
    with Helper() as helper:
        wait_until(lambda: in_window(helper.pid) == 0, PATIENCE_S, helper.explain)


def test_with_armed_pairs_only_the_sweep_wakes_it():
    with Helper() as helper, Commanded([built("chaos/traffic")], EAGER, helper.socket) as traffic:
        traffic.answer(5)
        traffic.ask("open 4")
        wait_until(lambda: traffic.ask("turns 20") and helper.totals()["pairs_armed"] == 4, 10, helper.explain)
        wait_until(lambda: in_window(helper.pid) <= WINDOW_S + 1, PATIENCE_S, helper.explain)
        assert helper.totals()["pairs_armed"] == 4
