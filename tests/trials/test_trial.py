# SPDX-License-Identifier: BSD-2-Clause
"""smaccel trial on a running service (trial_load.c): who is assigned to what, what is proved, what a guard does, and what is
left when processes or the helper die."""
import json
import math
import mmap
import os
import signal
import struct
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from support import group
from support.apps import NOBODY, Commanded, ss_rows, wait_until
from support.helper import Helper
from support.program import BUILD, EAGER, Arm, auto, built

TRIAL = [str(BUILD / "smaccel"), "trial"]
RECORDING_AT = 28  # of session_memory
INVALID = 3


class Load(Commanded):
    """trial_load under the shim."""

    def __init__(self, helper, arm=auto(2), pause_us=10000):
        super().__init__([built("trials/trial_load"), "--pause-us", pause_us], arm, helper.socket)
        first = self.answer(10)
        self.port, self.server = first["port"], first["server"]

    def answered(self):
        return self.ask("stats")["answered"]


@pytest.fixture
def load(request, helper):
    with Load(helper, *getattr(request, "param", ())) as running:
        yield running
    trial(helper, "stop", expect=None)
    wait_until(lambda: trial_state(helper) in ("none", "ended"), 10)


def trial(helper, *words, expect=0, prefix=()):
    environment = dict(os.environ, SMACCEL_SOCKET=str(helper.socket))
    done = subprocess.run([*prefix, *TRIAL, *words], env=environment, timeout=20, capture_output=True, text=True)
    assert expect is None or done.returncode == expect, f"trial {words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def start(helper, *words):
    """Every process has been told when it returns."""
    trial(helper, "start", *words)
    wait_until(lambda: trial_state(helper) != "starting", 10)


def report(helper, expect=(0, INVALID)):
    done = trial(helper, "report", "--json", expect=None)
    assert done.returncode in expect, f"report: {done.returncode}\n{done.stdout[-2000:]}{done.stderr}"
    return json.loads(done.stdout)


def trial_state(helper):
    return json.loads(trial(helper, "status", "--json").stdout)["state"]


def rows_of(helper, load):
    """Client port -> the two rows of `ss`."""
    rows = {}
    for row in ss_rows(helper):
        local, remote = (int(row[side].rsplit(":", 1)[1]) for side in ("local", "remote"))
        if load.port in (local, remote):
            rows.setdefault(remote if local == load.port else local, []).append(row)
    return rows


def arms_of(helper, load):
    """Client port -> "armed", "plain" or what else it is, when both ends say so."""
    arms = {}
    for port, rows in rows_of(helper, load).items():
        states = {"plain" if row["reason"] == "trial-plain" else row["state"] for row in rows}
        arms[port] = states.pop() if len(states) == 1 and len(rows) == 2 else "differs"
    return arms


def settled(helper, load, count, kinds=("armed", "plain")):
    """Waits until each of `count` connections is in one of these."""
    def fact():
        arms = arms_of(helper, load)
        return arms if len(arms) == count and set(arms.values()) <= set(kinds) else None
    return wait_until(fact, 20, lambda: f"{Counter(arms_of(helper, load).values())}\n{helper.explain()}")


def within_binomial(count, of, part):
    """Five standard deviations: one in a million runs."""
    return abs(count - of * part) <= 5 * math.sqrt(of * part * (1 - part))


def arm_count(answer, kind, arm, role="client"):
    return sum(row["count"] for row in answer[kind] if row["arm"] == arm and row["role"] == role)


@pytest.mark.parametrize("load, percent", [((auto(2),), 50), ((auto(2),), 20), ((EAGER,), 50)], indirect=["load"],
                         ids=["auto-50", "auto-20", "eager-50"])
def test_connections_are_assigned_at_random_and_both_ends_agree(helper, load, percent):
    count = 100
    start(helper, "--percent", str(percent), "--port", str(load.port))
    load.ask(f"open {count}")
    arms = settled(helper, load, count)
    wait_until(lambda: arm_count(report(helper), "connections", "plain") > 0, 10)
    wait_until(lambda: all(row["redirected_bytes"] > 0 for rows in rows_of(helper, load).values() for row in rows
                           if row["state"] == "armed"), 20, helper.explain)
    accelerated = sum(arm == "armed" for arm in arms.values())
    assert within_binomial(accelerated, count, percent / 100), (accelerated, count)
    for rows in rows_of(helper, load).values():
        for row in rows:
            if row["reason"] == "trial-plain":
                assert row["redirected_bytes"] == row["received_redirected_bytes"] == row["passed_bytes"] == 0, row
    answer = report(helper, expect=(0,))
    assert answer["arms"]["accelerated"]["pairs"] == answer["arms"]["accelerated"]["armed"] == accelerated
    assert answer["arms"]["plain"]["pairs"] == count - accelerated
    assert answer["arms"]["plain"]["redirected_bytes"] == answer["arms"]["plain"]["armed"] == 0
    assert answer["arms"]["accelerated"]["redirected_bytes"] > 0
    for role in "client", "server":
        assert arm_count(answer, "connections", "accelerated", role) == accelerated
        assert arm_count(answer, "connections", "plain", role) == count - accelerated
        assert min(arm_count(answer, "requests", arm, role) for arm in ("accelerated", "plain")) > 0
    # No request is recorded twice, and none that was asked for before its connection was assigned.
    requests = sum(arm_count(answer, "requests", arm) for arm in ("accelerated", "plain"))
    assert requests <= load.answered()
    load.ask("close", 20)
    wait_until(lambda: not rows_of(helper, load), 10)
    final = report(helper, expect=(0,))
    assert arm_count(final, "connections", "plain") == count - accelerated, "kept when the connections are gone"
    assert final["statistics"]["valid"] and final["statistics"]["connections"]["accelerated"] == accelerated
    assert arm_count(final, "requests", "plain") >= arm_count(answer, "requests", "plain")


def test_what_was_armed_before_is_divided_too_and_comes_back(helper, load):
    count = 40
    load.ask(f"open {count}")
    settled(helper, load, count, ("armed",))
    start(helper, "--port", str(load.port))
    arms = settled(helper, load, count)
    wait_until(lambda: "plain" in arms_of(helper, load).values(), 10, helper.explain)
    wait_until(lambda: sum(one["pairs"] for one in report(helper)["arms"].values()) == count, 10, helper.explain)
    arms = settled(helper, load, count)
    plain = sum(arm == "plain" for arm in arms.values())
    assert within_binomial(plain, count, 0.5), plain
    redirected = report(helper)["arms"]["plain"]["redirected_bytes"]
    before = load.answered()
    wait_until(lambda: load.answered() > before + 5 * count, 20, load.describe)
    answer = report(helper, expect=(0,))
    assert answer["arms"]["plain"]["redirected_bytes"] == redirected == 0
    assert answer["stuck_pairs"] == 0
    trial(helper, "stop")
    settled(helper, load, count, ("armed",))  # without a restart of anything
    assert report(helper)["ended_by"] == "stopped"


@pytest.mark.parametrize("load", [(auto(2), 0), (EAGER, 0)], indirect=True, ids=["auto", "eager"])
def test_trials_come_and_go_under_traffic(helper, load):
    """In and out of the sockhash again and again while requests fly; the program compares every response."""
    load.ask("open 12")
    settled(helper, load, 12, ("armed",))
    with helper.counting() as grown:
        for _ in range(12):
            trial(helper, "start")
            wait_until(lambda: trial_state(helper) == "running", 10)
            trial(helper, "stop")
            wait_until(lambda: trial_state(helper) == "ended", 10)
    settled(helper, load, 12, ("armed",))
    before = load.answered()
    wait_until(lambda: load.answered() > before + 1000, 20, load.describe)
    assert grown["leaves"] > 12 and grown["pairs_armed_total"] > 12, grown
    load.ask("close", 20)


def test_recording_ends_with_the_trial(helper, load):
    load.ask("open 8")
    settled(helper, load, 8, ("armed",))
    start(helper)
    wait_until(lambda: arm_count(report(helper), "requests", "accelerated") > 0 or
               arm_count(report(helper), "requests", "plain") > 0, 10)
    assert any(recording_words(helper))
    trial(helper, "stop")
    wait_until(lambda: report(helper)["state"] == "ended" and not any(recording_words(helper)), 10)
    first = report(helper)
    before = load.answered()
    wait_until(lambda: load.answered() > before + 100, 10, load.describe)
    second = report(helper)
    assert first["requests"] == second["requests"] and first["arms"] == second["arms"]


def recording_words(helper):
    """session_memory.recording of each session."""
    words = []
    for entry in Path(f"/proc/{helper.pid}/fd").iterdir():
        try:
            if "smaccel-session" not in os.readlink(entry):
                continue
            with open(entry, "rb") as memory:
                words.append(struct.unpack_from("I", memory.read(64), RECORDING_AT)[0])
        except OSError:
            continue
    return words


def test_short_connections_are_in_neither_arm(helper, load):
    load.ask("open 8")
    settled(helper, load, 8, ("armed",))
    start(helper, "--port", str(load.port))
    wait_until(lambda: sum(one["pairs"] for one in report(helper)["arms"].values()) == 8, 10)
    load.ask("short 50 1", 20)
    wait_until(lambda: sum(report(helper)["unassigned"].values()) >= 100, 10, lambda: str(report(helper)["unassigned"]))
    answer = report(helper)
    assert sum(one["pairs"] for one in answer["arms"].values()) == 8
    assert answer["unassigned"].get("watching", 0) == 100, answer["unassigned"]  # both ends of each
    text = trial(helper, "report", expect=None).stdout
    assert "100 watching" in text and "neither arm" in text


@pytest.mark.parametrize("option, value, takes_part", [
    ("--comm", "trial_load", True), ("--comm", "trial", False), ("--uid", "0", True), ("--uid", "nobody", False),
    ("--port", "1", False)])
def test_selection(helper, load, option, value, takes_part):
    start(helper, option, value)
    load.ask("open 10")
    wait_until(lambda: len(settled(helper, load, 10)) == 10, 10)
    pairs = sum(one["pairs"] for one in report(helper)["arms"].values())
    assert pairs == (10 if takes_part else 0)
    if not takes_part:
        assert set(arms_of(helper, load).values()) == {"armed"}


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
    wait_until(lambda: set(arms_of(helper, load).values()) <= {"offered", "plain"}, 20,
               lambda: str(Counter(arms_of(helper, load).values())))
    load.ask("open 5")  # nor is anything new accelerated
    before, armed_before = load.answered(), helper.totals()["pairs_armed_total"]
    wait_until(lambda: load.answered() > before + 20 * count, 20, load.describe)
    assert helper.totals()["pairs_armed_total"] == armed_before and helper.totals()["pairs_armed"] == 0
    assert "trial-stopped" in {row["reason"] for rows in rows_of(helper, load).values() for row in rows}
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


def test_processes_killed_in_mid_trial(helper):
    with Load(helper) as load:
        start(helper, "--port", str(load.port))
        load.ask("open 40")
        settled(helper, load, 40)
        before = load.answered()
        wait_until(lambda: load.answered() > before + 400, 20, load.describe)
        os.kill(load.pid, signal.SIGSTOP)  # then the server waits, and the figures stand still
        known = wait_until(lambda: unchanged(helper), 10)
        for pid in load.pid, load.server:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: report(helper)["processes_ended"] == 2, 10, lambda: str(report(helper)["processes_ended"]))
        after = report(helper)
        for role in "client", "server":
            for kind in "requests", "connections":
                for arm in "accelerated", "plain":
                    assert arm_count(after, kind, arm, role) == arm_count(known, kind, arm, role) > 0
        assert after["arms"] == known["arms"]
        trial(helper, "stop")


def test_a_group_in_a_trial_counts_in_both(helper):
    with Load(helper, Arm("grouped", 2, {"SMACCEL_GROUP": "beef"})) as load:
        start(helper, "--port", str(load.port))
        load.ask("open 20")
        settled(helper, load, 20)
        before = load.answered()
        wait_until(lambda: load.answered() > before + 200, 20, load.describe)
        load.ask("close", 20)
        account, answer = group.ask(helper.socket, 0xBEEF), report(helper)
        for role in "client", "server":
            for arm in "accelerated", "plain":
                assert group.latency(account, role, arm)["count"] == arm_count(answer, "requests", arm, role) > 0
            assert group.latency(account, role, "all")["count"] > 0  # before they were assigned
        assert account["redirected_bytes"] == answer["arms"]["accelerated"]["redirected_bytes"] > 0
        trial(helper, "stop")


def unchanged(helper):
    first, second = report(helper), report(helper)
    return second if first["requests"] == second["requests"] else None


def test_helper_killed_in_mid_trial():
    """The trial is over, and nobody is left behind on plain TCP because of it."""
    with Helper() as helper, Load(helper) as load:
        start(helper, "--port", str(load.port))
        load.ask("open 20")
        arms = settled(helper, load, 20)
        helper.kill()
        before = load.answered()
        wait_until(lambda: load.answered() > before + 200, 20, load.describe)
        helper.start()
        done = trial(helper, "report", expect=1)
        assert "no trial has run since the helper started" in done.stdout
        pairs = sum(arm == "plain" for arm in arms.values())
        assert pairs > 0
        # Those of the plain arm offer to the new helper; those that were armed ran on.
        wait_until(lambda: helper.totals()["pairs_armed"] == 20, 30, helper.explain)
        load.ask("close", 20)


def test_command_line(helper, load):
    for words in (("start", "--percent", "0"), ("start", "--percent", "100"), ("start", "--percent", "x"),
                  ("start", "--port", "70000"), ("start", "--duration", "1y"), ("start", "--uid", "no-such-user"),
                  ("start", "--stop-if", "p99 better by 20%"), ("start", "--stop-if", "p100 worse by 1%"),
                  ("start", "--window", "60s"), ("start", "--stop-if", "p99 worse by 1%", "--window", "2s"),
                  ("start", "--comm", "a-name-that-is-too-long"), ("start", "word"), ("start", "--nonsense"),
                  ("nonsense",), ()):
        done = trial(helper, *words, expect=2)
        assert done.stderr.startswith("smaccel trial") or done.stderr.startswith("Usage"), done.stderr
    for words in ("--help",), ("start", "--help"), ("report", "--help"):
        assert "Usage" in trial(helper, *words).stdout
    assert "no trial is running" in trial(helper, "stop", expect=1).stderr
    trial(helper, "start", "--duration", "1h", "--percent", "50%", "--uid", "root")
    assert "a trial is running" in trial(helper, "start", expect=1).stderr
    for word in "start", "stop", "report", "status":
        assert "only root" in trial(helper, word, expect=1, prefix=NOBODY).stderr
    assert "NOT VALID" in trial(helper, "report", expect=INVALID).stdout
    trial(helper, "stop")
    wait_until(lambda: trial_state(helper) == "ended", 10)
    subprocess.run([str(BUILD / "smaccel"), "off", "--socket", str(helper.socket)], check=True, timeout=10)
    assert "kill switch" in trial(helper, "start", expect=1).stderr
    subprocess.run([str(BUILD / "smaccel"), "on", "--socket", str(helper.socket)], check=True, timeout=10)


def test_layout_of_the_recording_word():
    """RECORDING_AT is where the helper keeps it (magic, version, generation, pong, off, cell_count before it)."""
    with Helper() as helper, Load(helper) as load, mmap.mmap(-1, 4096):
        load.ask("open 1")
        wait_until(lambda: len(recording_words(helper)) >= 1, 10)
        assert not any(recording_words(helper))
        start(helper)
        wait_until(lambda: all(word & 2 for word in recording_words(helper)), 10)
