# SPDX-License-Identifier: BSD-2-Clause
"""From runs to ratios, goals and losses, on runs whose answer is known."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))

import report  # noqa: E402
from model import Goal, Workload  # noqa: E402
from summary import summarize  # noqa: E402


def run(arm, value, tail=None, redirected=1):
    return {"arm": arm, "v": value, "redirected_bytes": redirected, "helper_cpu_ns": 0, **({"p99_ns": tail} if tail else {})}


def rounds_of(values, count=3):
    """values: {arm: (first run, second run)}; the level drifts from round to round, and so must not matter."""
    return [{arm: [run(arm, value * (number + 1), value * 10) for value in pair] for arm, pair in values.items()}
            for number in range(count)]


def workload(more, *goals, tail="p99_ns"):
    return Workload("w", "g", "ns", "v", None, more=more, goals=goals, tail=tail)


def summary_of(load, values):
    return summarize(load, list(values), rounds_of(values))


def goals_met(summary):
    return {goal["goal"]: goal["met"] for goal in summary["goals"]}


def test_ratio_is_taken_within_the_round():
    summary = summary_of(workload(True), {"plain": (100, 100), "auto": (150, 130), "unix": (200, 200)})
    assert summary["arms"]["auto"]["ratio"]["value"] == pytest.approx(1.4)
    assert summary["arms"]["auto"]["tail_ratio"]["value"] == pytest.approx(1.4)
    assert summary["arms"]["unix"]["value"] == 400
    assert "ratio" not in summary["arms"]["plain"]


@pytest.mark.parametrize("goal,values,met", [
    (Goal("<= 0.55"), {"plain": (100, 100), "auto": (54, 54)}, True),
    (Goal("<= 0.55"), {"plain": (100, 100), "auto": (56, 56)}, False),
    (Goal(">= 1.3"), {"plain": (100, 100), "auto": (131, 131)}, True),
    (Goal(">= 1.3"), {"plain": (100, 100), "auto": (129, 129)}, False),
    (Goal("<= 0.92", base="unix"), {"plain": (100, 100), "auto": (90, 90), "unix": (95, 95)}, False),
    (Goal("<= 0.92", base="unix"), {"plain": (100, 100), "auto": (90, 90)}, None),
    (Goal("<= 0.10", arm="spin"), {"plain": (100, 100), "auto": (90, 90)}, None),
    (Goal("<= 0.85", kind="tail"), {"plain": (100, 100), "auto": (80, 80)}, True),
    (Goal("+20", kind="difference"), {"plain": (100, 100), "auto": (109, 109)}, True),
    (Goal("+20", kind="difference"), {"plain": (100, 100), "auto": (111, 111)}, False),
    (Goal("<= 1.05", kind="value"), {"plain": (1, 1), "auto": (0.5, 0.5)}, True),
    (Goal("<= 1.05", kind="value"), {"plain": (1, 1), "auto": (0.6, 0.6)}, False),
])
def test_goal(goal, values, met):
    """With three rounds at 1, 2 and 3 times the level the median is at 2 times: 9 more is 18, 0.6 is 1.2."""
    assert goals_met(summary_of(workload(True, goal), values))[str(goal)] is met


@pytest.mark.parametrize("more,auto,met", [(True, 97.5, True), (True, 96, False), (False, 103, True), (False, 104, False)])
def test_the_default_arm_must_not_lose(more, auto, met):
    assert goals_met(summary_of(workload(more), {"plain": (100, 100), "auto": (auto, auto)}))["speed >= 0.97"] is met


def test_losses_name_the_arm_and_are_sure_only_beyond_their_interval():
    summary = dict(summary_of(workload(False), {"plain": (100, 100), "auto": (101, 101), "eager": (150, 150)}), foreign_threads=0)
    assert [row[:3] for row in report.losses({"workloads": [summary]})] == [["w", "eager", "0.667"]]
    wide = summarize(workload(True), ["plain", "auto"], [{"plain": [run("plain", 100)] * 2, "auto": [run("auto", v)] * 2}
                                                         for v in (120, 95, 80, 96, 130, 70)])
    assert [row[-1][:2] for row in report.losses({"workloads": [dict(wide, foreign_threads=0)]})] == ["no"]
    assert [row[-1] for row in report.losses({"workloads": [summary]})] == ["yes"]


def test_a_number_that_a_run_lacks_gives_no_ratio():
    summary = summary_of(workload(True, tail="p999_ns"), {"plain": (100, 100), "auto": (150, 150)})
    assert summary["arms"]["auto"]["tail_ratio"] is None
    assert "auto" in report.ratios_line(summary)
