# SPDX-License-Identifier: BSD-2-Clause
"""smaccel trial: what its guard sees, and what it leaves behind; whom its start finds."""
import os
import subprocess
import time
from collections import Counter

from service import TRIAL, arms_of, load, report, rows_of, settled, start, trial, trial_state  # noqa: F401: a fixture
from support.apps import wait_until
from support.helper import Helper
from support.program import Program, built
from support.proof import proved


def test_the_guard_ends_it_and_turns_acceleration_off(helper, load):
    """The service answers late on the connections that `ss` shows as armed: a difference that was planted there."""
    count = 40
    start(helper, "--port", str(load.port), "--stop-if", "median worse by 100%")
    load.ask(f"open {count}")
    arms = settled(helper, load, count)
    armed = [str(port) for port, arm in arms.items() if arm == "armed"]
    load.ask(f"slow 4000 {' '.join(armed)}")
    wait_until(lambda: trial_state(helper) == "ended", 30, lambda: trial(helper, "report", expect=None).stdout)
    answer = report(helper)
    assert answer["ended_by"] == "guard" and answer["guard_fired"] and answer["selection_off"]
    assert answer["guard_saw"] == "all"  # it began before there was a whole window
    connections = answer["statistics"]["connections"]
    assert connections["verdict"] == "slower" and connections["low"] > 1, connections
    assert "ended by its guard" in trial(helper, "report", expect=None).stdout
    wait_until(lambda: set(arms_of(helper, load).values()) == {"refused"}, 20,
               lambda: str(Counter(arms_of(helper, load).values())))
    load.ask("open 5")  # nor is anything new accelerated
    before, armed_before = load.answered(), helper.totals()["pairs_armed_total"]
    wait_until(lambda: load.answered() > before + 20 * count, 20, load.describe)
    assert helper.totals()["pairs_armed_total"] == armed_before and helper.totals()["pairs_armed"] == 0
    def shown():
        return Counter((row["state"], row["reason"]) for rows in rows_of(helper, load).values() for row in rows)
    wait_until(lambda: shown() == {("refused", "trial-stopped"): 2 * (count + 5)}, 20, lambda: str(shown()))  # new ones, too
    told = subprocess.run([TRIAL[0], "status"], env=dict(os.environ, SMACCEL_SOCKET=str(helper.socket)), timeout=20,
                          capture_output=True, text=True).stdout
    assert "its guard has turned acceleration off" in told, told
    assert helper.status()["trial"] == {"state": "ended", "selection_off": True, "ended_by": "guard"}
    for words in (), ("--port", "9"), ("--port", str(load.port), "--uid", "0"), ("--port", str(load.port), "--comm", "trial_load"):
        refused = trial(helper, "start", *words, expect=1).stderr  # of anything else: what is off would be forgotten
        assert "a guard has turned acceleration off" in refused and "`smaccel trial stop` first" in refused, refused
    assert report(helper)["selection_off"] and report(helper)["settings"]["port"] == load.port
    before = load.answered()
    wait_until(lambda: load.answered() > before + 20 * count, 20, load.describe)
    assert helper.totals()["pairs_armed_total"] == armed_before
    start(helper, "--port", str(load.port))  # another one may begin at once, with what was kept out
    settled(helper, load, count + 5)
    trial(helper, "stop")  # takes it back
    settled(helper, load, count + 5, ("armed",))


def median_ns(answer, arm):
    """Of all requests of the clients since the trial began."""
    return answer["statistics"][f"requests_{arm}"]["p50"]


def test_a_delay_that_begins_in_mid_trial_is_seen_by_the_window(helper, load):
    """Most of all requests are still good when the guard fires."""
    start(helper, "--port", str(load.port), "--stop-if", "median worse by 100%", "--window", "3s")
    load.ask("open 40")
    arms = settled(helper, load, 40)
    wait_until(lambda: report(helper)["elapsed_s"] >= 6, 20)
    assert trial_state(helper) == "running"
    load.ask(f"slow 20000 {' '.join(str(port) for port, arm in arms.items() if arm == 'armed')}")
    begun = time.monotonic()
    wait_until(lambda: trial_state(helper) == "ended", 30, lambda: trial(helper, "report", expect=None).stdout)
    answer = report(helper)
    assert answer["ended_by"] == "guard" and answer["guard_saw"] == "window", (answer["guard_saw"], time.monotonic() - begun)
    assert answer["settings"]["guard"]["window_s"] == 3
    assert median_ns(answer, "accelerated") < 2 * median_ns(answer, "plain")
    assert "what it saw of the last requests" in trial(helper, "report", expect=None).stdout


def test_the_guard_leaves_equal_arms_alone(helper, load):
    start(helper, "--port", str(load.port), "--stop-if", "median worse by 50%", "--window", "3s", "--duration", "5s")
    load.ask("open 20")
    settled(helper, load, 20)
    wait_until(lambda: trial_state(helper) == "ended", 15)
    answer = report(helper)
    assert answer["ended_by"] == "duration" and not answer["guard_fired"] and not answer["selection_off"]
    settled(helper, load, 20, ("armed",))


def test_pairs_that_wait_to_be_armed_are_divided_too():
    with Helper() as helper, Program([built("trials/arming"), helper.socket]) as arming:
        assert arming.wait(25) == 0, arming.describe() + helper.log
        proved("later 0" not in arming.out, arming.describe)
