# SPDX-License-Identifier: BSD-2-Clause
"""smaccel trial on a running service (trial_load.c): who is assigned to what, what is proved, and what is left when processes or
the helper die. test_trial_guard.py has its guard."""
import json
import math
import mmap
import os
import signal
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import ab
import pytest
from service import INVALID, Load, arms_of, load, report, rows_of, settled, start, trial, trial_state  # noqa: F401: a fixture
from support import group
from support.apps import NOBODY, wait_until
from support.helper import Helper
from support.program import BUILD, EAGER, Arm, Program, auto

RECORDING_AT = 28  # of session_memory


def within_binomial(count, of, part):
    """Five standard deviations: one in a million runs."""
    return abs(count - of * part) <= 5 * math.sqrt(of * part * (1 - part))


def arm_count(answer, kind, arm, role="client"):
    return sum(row["count"] for row in answer[kind] if row["arm"] == arm and row["role"] == role)


def check_parts(answer):
    """Together they are all requests, bucket by bucket, and connections are spread over them."""
    for role in "client", "server":
        for arm in "accelerated", "plain":
            sums = []
            for kind in "requests", "parts":
                buckets = Counter()
                for row in answer[kind]:
                    if (row["role"], row["arm"]) == (role, arm):
                        buckets.update(dict(row["buckets"]))
                sums.append(buckets)
            assert sums[0] == sums[1] != {}, (role, arm)
            assert len({row["part"] for row in answer["parts"] if (row["role"], row["arm"]) == (role, arm)}) > 1


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
    check_parts(answer)
    if percent == 50:
        ratio = answer["statistics"]["requests_ratio"]["mean"]
        assert ratio["low"] < ratio["ratio"] < ratio["high"]
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
        for _ in range(6):
            trial(helper, "start")
            wait_until(lambda: trial_state(helper) == "running", 10)
            trial(helper, "stop")
            wait_until(lambda: trial_state(helper) == "ended", 10)
        settled(helper, load, 12, ("armed",))
    before = load.answered()
    wait_until(lambda: load.answered() > before + 1000, 20, load.describe)
    assert grown["leaves"] > 6 and grown["pairs_armed_total"] > 6, grown
    load.ask("close", 20)


def test_the_report_as_a_page(helper, load, tmp_path):
    page = tmp_path / "page.html"
    start(helper, "--port", str(load.port))
    load.ask("open 60")
    settled(helper, load, 60)
    before = load.answered()
    wait_until(lambda: load.answered() > before + 3000, 20, load.describe)
    trial(helper, "stop")
    wait_until(lambda: trial_state(helper) == "ended", 10)
    text = trial(helper, "report", "--html", str(page)).stdout
    answer = report(helper)
    root = ab.check_page(page.read_text(), 3)
    said = " ".join(root.itertext())
    ratio = answer["statistics"]["requests_ratio"]["p50"]
    assert f"port {load.port}" in said and f"{ratio['low']:.3f} .. {ratio['high']:.3f}" in said
    assert f"{ratio['low']:.3f} to {ratio['high']:.3f}" in text
    assert f"{answer['arms']['plain']['pairs']} connections, 0 of them armed" in said
    done = trial(helper, "report", "--html", "/nonexistent/page", expect=1)
    assert "/nonexistent/page: No such file" in done.stderr and done.stdout, "the report is not lost with the page"
    assert "--html is empty" in trial(helper, "report", "--html=", expect=2).stderr


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


def test_processes_killed_in_mid_trial(helper):
    with Load(helper) as load:
        start(helper, "--port", str(load.port))
        load.ask("open 40")
        settled(helper, load, 40)
        before = load.answered()
        wait_until(lambda: load.answered() > before + 400, 20, load.describe)
        os.kill(load.pid, signal.SIGSTOP)
        # What is asked to stop goes on until it has a CPU; then the server waits, and the figures stand still.
        wait_until(lambda: states(load.pid) == {"T"} and states(load.server) == {"S"}, 10, load.describe)
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


def states(pid):
    """Of its threads, as in /proc/PID/stat."""
    return {(task / "stat").read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").iterdir()}


def test_a_group_in_a_trial_counts_in_both(helper):
    with Load(helper, Arm("grouped", 2, {"SMACCEL_GROUP": "beef"})) as load:
        start(helper, "--port", str(load.port))
        load.ask("open 20")
        settled(helper, load, 20)
        before = load.answered()
        wait_until(lambda: load.answered() > before + 200, 20, load.describe)
        load.ask("close", 20)
        wait_until(lambda: not rows_of(helper, load), 10)  # the server's threads note their last answers a moment later
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


PORTS = 24  # more than the helper has room for, and not more than a process has
MANY_PORTS = f"""
import json, socket, sys, threading
listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range({PORTS})]
ports = [one.getsockname()[1] for one in listeners]
pairs = [(socket.create_connection(("127.0.0.1", one)), listener.accept()[0])
         for listener, one in zip(listeners, ports) for _ in range(16 if one == ports[-1] else 2)]
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set())).start()
print("ports", json.dumps(ports), flush=True)
while not over.wait(0.1):
    for end, peer in pairs:
        end.sendall(b"x" * 64)
        peer.sendall(peer.recv(64))
        end.recv(64)
"""


EACH = {(role, arm) for role in ("client", "server") for arm in ("accelerated", "plain")}


def summary(helper):
    """{} where a busy machine has not answered within 2 s."""
    return json.loads(trial(helper, "status", "--json", expect=None).stdout or "{}")


def ports_of(rows, role):
    return {row["port"] for row in rows if row["role"] == role}


def test_more_ports_than_there_is_room_for():
    """Whole ports are left out: the report says so, and is of the others. Names of their series stay behind, and take no room later."""
    read_end, write_end = os.pipe()
    with Helper() as helper, Program([sys.executable, "-c", MANY_PORTS], auto(2), helper.socket, stdin=read_end) as program:
        os.close(read_end)
        ports = json.loads(program.wait_output("ports"))
        start(helper)
        wait_until(lambda: summary(helper).get("latencies_left_out", 0) > 200, 20, helper.explain)
        trial(helper, "stop")
        wait_until(lambda: trial_state(helper) == "ended", 10)
        answer = report(helper, expect=(0,))
        check_parts(answer)
        assert answer["latencies_lost"] == 0 and answer["connections_left_out"] > 0
        for role in "client", "server":
            kept = ports_of(answer["requests"], role)
            assert kept == ports_of(answer["connections"], role) < set(ports), role
        text = trial(helper, "report").stdout
        assert f"{answer['latencies_left_out']} latencies are of ports beyond those that there is room for" in text
        start(helper, "--port", str(ports[-1]))
        wait_until(lambda: sum(one["pairs"] for one in summary(helper).get("arms", {}).values()) == 16, 20, helper.explain)
        wait_until(lambda: {(row["role"], row["arm"]) for row in report(helper)["requests"]} == EACH, 20, helper.explain)
        answer = report(helper, expect=(0,))
        assert answer["latencies_left_out"] == answer["latencies_lost"] == answer["connections_left_out"] == 0
        assert {row["port"] for row in answer["requests"]} == {ports[-1]}
        os.close(write_end)
        assert program.wait(10) == 0, program.describe()


def test_the_kill_switch_ends_a_trial(helper, load):
    """From then on the accelerated arm would be plain TCP, and the report would call that no difference."""
    environment = dict(os.environ, SMACCEL_SOCKET=str(helper.socket))
    start(helper, "--port", str(load.port))
    load.ask("open 20")
    settled(helper, load, 20)
    subprocess.run([str(BUILD / "smaccel"), "off"], env=environment, check=True, timeout=5)
    try:
        wait_until(lambda: trial_state(helper) == "ended", 10)
        answer = report(helper)
        assert answer["ended_by"] == "kill switch"
        before = load.answered()
        wait_until(lambda: load.answered() > before + 200, 20, load.describe)
        assert report(helper)["requests"] == answer["requests"]
        trial(helper, "start", expect=1)
    finally:
        subprocess.run([str(BUILD / "smaccel"), "on"], env=environment, check=True, timeout=5)
    settled(helper, load, 20, ("armed",))


def test_a_trial_costs_no_memory_for_slots_that_nobody_uses():
    def memory_kb():
        lines = Path(f"/proc/{helper.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    with Helper("--slots", 32768) as helper:
        before = memory_kb()
        start(helper)
        trial(helper, "stop")
        wait_until(lambda: trial_state(helper) == "ended", 10)
        assert memory_kb() < before + 4096
