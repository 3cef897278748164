# SPDX-License-Identifier: BSD-2-Clause
"""A running service (trial_load.c) under `smaccel trial`: started, asked, and what `ss` shows of its connections."""
import json
import os
import subprocess
from collections import Counter

import pytest
from support.apps import Commanded, ss_rows, wait_until
from support.program import BUILD, auto, built

TRIAL = [str(BUILD / "smaccel"), "trial"]
INVALID = 3
LATE = "does not answer"  # within 2 s, on a machine that has much to do: what was asked for is done all the same
DONE = {"start": "running", "stop": "ended"}


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
    for _ in range(5):
        done = subprocess.run([*prefix, *TRIAL, *words], env=environment, timeout=20, capture_output=True, text=True)
        if LATE not in done.stderr:
            break
        if expect == 0 and words[0] in DONE:  # not twice
            wait_until(lambda: trial_state(helper) == DONE[words[0]], 20, done.stderr)
            return done
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
