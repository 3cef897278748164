# SPDX-License-Identifier: BSD-2-Clause
"""smaccel trial: what its guard sees, and what it leaves behind; whom its start finds."""
import os
import subprocess
import time
from collections import Counter

from service import TRIAL, arms_of, load, report, rows_of, settled, start, trial, trial_state  # noqa: F401: a fixture
from support.apps import wait_until
from support.helper import Helper
from support.manual import described, undocumented
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
    told = smaccel(helper, "status").stdout
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


def smaccel(helper, *words):
    return subprocess.run([TRIAL[0], *words], env=dict(os.environ, SMACCEL_SOCKET=str(helper.socket)), timeout=20, capture_output=True, text=True)


def check_what_is_shown(helper, load, answer):
    """The manual names each key; `ss` shows what it is asked for; the metrics are those of the status."""
    for told in answer, helper.status(), helper.ask("ss"), helper.ask("probe"):
        assert not undocumented(told), undocumented(told)
    rows = helper.ask("ss", "--port", str(load.port))["connections"]
    assert len(rows) == 40 and {row["state"] for row in rows} == {"armed"}, rows
    for words, count in (("--pid", load.server), 20), (("--pid", 1), 0), (("--state", "armed"), 40), (("--state", "refused"), 0), \
            (("--reason", "armed"), 40), (("--reason", "oob"), 0), (("--port", 9), 0):
        words = ("--port", str(load.port), *map(str, words)) if words[0] != "--port" else map(str, words)
        assert len(helper.ask("ss", *words)["connections"]) == count, words
    text = smaccel(helper, "ss", "--port", str(load.port), "--pid", str(load.server))
    assert text.stdout.count("\n") == 21, text.stdout
    for option in "state", "reason":
        wrong = smaccel(helper, "ss", f"--{option}", "nonsense")
        assert wrong.returncode == 2 and "no such" in wrong.stderr and " armed" in wrong.stderr, wrong.stderr
    shown = smaccel(helper, "status", "--prometheus").stdout
    metrics = dict(line.rsplit(" ", 1) for line in shown.splitlines() if not line.startswith("#"))
    assert metrics["smaccel_pairs_armed"] == "20" and float(metrics["smaccel_redirected_bytes_total"]) > 0, shown
    assert metrics["smaccel_slots"] == str(helper.status()["helper"]["slots"]) and metrics["smaccel_off"] == "0"
    refusals = {f'smaccel_refusals_total{{reason="{reason}"}}' for reason in helper.status()["refusals"]}
    assert refusals == {name for name in metrics if name.startswith("smaccel_refusals")}, shown
    for name in metrics:
        assert f"# TYPE {name.split('{')[0]} " in shown and f"# HELP {name.split('{')[0]} " in shown
        assert name.split("{")[0] in described()
    assert " slots; " in smaccel(helper, "status").stdout


def test_the_guard_leaves_equal_arms_alone(helper, load):
    start(helper, "--port", str(load.port), "--stop-if", "median worse by 50%", "--window", "3s", "--duration", "5s")
    load.ask("open 20")
    settled(helper, load, 20)
    wait_until(lambda: trial_state(helper) == "ended", 15)
    answer = report(helper)
    assert answer["ended_by"] == "duration" and not answer["guard_fired"] and not answer["selection_off"]
    settled(helper, load, 20, ("armed",))
    check_what_is_shown(helper, load, answer)


def test_pairs_that_wait_to_be_armed_are_divided_too():
    with Helper() as helper, Program([built("trials/arming"), helper.socket]) as arming:
        assert arming.wait(25) == 0, arming.describe() + helper.log
        proved("later 0" not in arming.out, arming.describe)
