# SPDX-License-Identifier: BSD-2-Clause
"""A helper that has nothing to do sleeps: no thread of it wakes up, and with armed pairs only the sweep, once a second. And what it has done
takes no memory."""
import contextlib
import os
import sys
import time
from pathlib import Path

from support.apps import Commanded, wait_until
from support.helper import Helper
from support.program import EAGER, Program, built
from support.proof import proved
from support.scripts import CONNECTED_PAIR

WINDOW_S = 2.2
LOOK_S = 0.1
PATIENCE_S = 20     # the watchdog goes to sleep some 2 s after the last request


def wake_ups(pid):
    """Voluntary context switches so far, by thread. One that closes something may end meanwhile."""
    counts = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{pid}/task/{task}/status").read_text().splitlines()
            counts[task] = next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return counts


def loop_wake_ups(pid):
    return wake_ups(pid)[str(pid)]


def await_sweep(pid):
    """The last moment at which there had been none: until a second later there is no other."""
    before = loop_wake_ups(pid)
    moments = []

    def swept():
        moments.append(time.monotonic())
        return loop_wake_ups(pid) > before
    wait_until(swept, 5, "no sweep")
    return moments[-2] if len(moments) > 1 else moments[0]


def await_calm(helper, most):
    """Waits until it was woken `most` times at the most in the last WINDOW_S."""
    seen = [(time.monotonic(), wake_ups(helper.pid))]

    def calm():
        time.sleep(LOOK_S)
        seen.append((time.monotonic(), wake_ups(helper.pid)))
        begun = [counts for moment, counts in seen if moment <= seen[-1][0] - WINDOW_S]
        return begun and sum(count - begun[-1].get(task, 0) for task, count in seen[-1][1].items()) <= most
    wait_until(calm, PATIENCE_S, helper.explain)


def test_an_idle_helper_sleeps():
    with Helper() as helper:
        await_calm(helper, 0)


def test_with_armed_pairs_only_the_sweep_wakes_it():
    with Helper() as helper, Commanded([built("chaos/traffic")], EAGER, helper.socket) as traffic:
        traffic.answer(5)
        traffic.ask("open 4")
        wait_until(lambda: traffic.ask("turns 20") and helper.totals()["pairs_armed"] == 4, 10, helper.explain)
        await_calm(helper, WINDOW_S + 1)
        proved(helper.totals()["pairs_armed"] == 4)


def test_armed_ends_that_are_closed_do_not_wake_it():
    """Each of two processes closes four: that is eight messages saved. The next sweep finds all of them and frees the slots,
    and has no reason to come again then."""
    with Helper() as helper, Commanded([built("chaos/traffic")], EAGER, helper.socket) as traffic:
        traffic.answer(5)
        traffic.ask("open 4")
        wait_until(lambda: traffic.ask("turns 20") and helper.totals()["pairs_armed"] == 4, 10, helper.explain)
        begun = await_sweep(helper.pid)
        before = loop_wake_ups(helper.pid)
        traffic.ask("close")
        time.sleep(0.3)
        woken = loop_wake_ups(helper.pid) - before
        assert woken == 0 or time.monotonic() - begun > 0.95    # a machine so busy that a sweep was due
        await_calm(helper, 0)
        assert helper.totals()["pairs_armed"] == 0


# One pair after another.
PAIRS = CONNECTED_PAIR + """
import sys
for _ in range(int(sys.argv[1])):
    for end in connected_pair():
        end.close()
"""
PAIRS_AT_FIRST = 600
PAIRS_LATER = 3000


def own_memory(pid):
    """In KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def test_pairs_that_are_gone_take_no_memory():
    """A slot is 512 bytes: 3,000 of them would be 1.5 MB."""
    with Helper() as helper:
        memory = []
        for count in (PAIRS_AT_FIRST, PAIRS_LATER):
            with helper.counting() as grown, Program([sys.executable, "-c", PAIRS, count], EAGER, helper.socket) as program:
                assert program.wait(60) == 0, program.describe()
            proved(grown["sockets_joined"] >= count and grown["redirected_bytes"] > 0, helper.explain)
            memory.append(own_memory(helper.pid))
        assert memory[1] - memory[0] < 500, memory
