# SPDX-License-Identifier: BSD-2-Clause
"""From the runs of a workload to its numbers: medians, tails, ratios with their intervals, goals."""
import statistics_ab as statistics
from model import FLOOR

TAILS = ("p99_ns", "p999_ns", "max_ns")


def blocks_of(rounds, base, arm, key):
    """The runs of two arms as blocks A B B A of one value each; empty where a run lacks it."""
    blocks = [[value.get(key) for value in (r[base][0], r[arm][0], r[arm][1], r[base][1])] for r in rounds]
    return [] if any(value is None or value <= 0 for block in blocks for value in block) else blocks


def ratio_of(rounds, base, arm, key):
    """{"value", "low", "high"} or None."""
    blocks = blocks_of(rounds, base, arm, key)
    return dict(statistics.ratio(blocks)._asdict()) if blocks else None


def of_arm(workload, rounds, name):
    runs = [run for each in rounds for run in each[name]]
    arm = {"value": statistics.median([run[workload.measure] for run in runs]),
           "redirected_bytes": sum(run["redirected_bytes"] for run in runs),
           "helper_cpu_ns": sum(run["helper_cpu_ns"] for run in runs), "joins": sum(run.get("joins", 0) for run in runs)}
    if arm["joins"]:
        arm["helper_us_a_join"] = arm["helper_cpu_ns"] / arm["joins"] / 1e3
    for key in (*TAILS, "cpu_ns"):
        values = [run[key] for run in runs if key in run]
        if values:
            arm[key] = max(values) if key == "max_ns" else statistics.median(values)
    if name != "plain":
        arm["ratio"] = ratio_of(rounds, "plain", name, workload.measure)
        arm["cpu_ratio"] = ratio_of(rounds, "plain", name, "cpu_ns")
        if workload.tail:
            arm["tail_ratio"] = ratio_of(rounds, "plain", name, workload.tail)
    return arm


def judged(workload, rounds, arms, goal):
    """The goal with its number; "met" is None where an arm of it was not measured."""
    number = None
    if goal.kind == "value" and goal.arm in arms:
        number = arms[goal.arm]["value"]
    elif goal.kind == "helper us a join":
        number = arms.get(goal.arm, {}).get("helper_us_a_join")
    elif goal.arm in arms and goal.base in arms:
        if goal.kind == "difference":
            blocks = blocks_of(rounds, goal.base, goal.arm, workload.measure)
            number = statistics.difference(blocks) if blocks else None
        else:
            found = ratio_of(rounds, goal.base, goal.arm, workload.tail if goal.kind == "tail" else workload.measure)
            number = found["value"] if found else None
    return {"goal": str(goal), "number": number, "met": None if number is None else goal.met(number)}


def floor_of(workload, arms):
    """No workload of the default arm may lose; where a difference or a value is the measure, that has its own goal."""
    ratio = arms.get("auto", {}).get("ratio")
    if not ratio or any(goal.kind in ("difference", "value") for goal in workload.goals):
        return []
    speed = workload.speed(ratio["value"])
    return [{"goal": f"speed >= {FLOOR}", "number": speed, "met": speed >= FLOOR}]


def summarize(workload, names, rounds):
    arms = {name: of_arm(workload, rounds, name) for name in names}
    goals = [judged(workload, rounds, arms, goal) for goal in workload.goals]
    return {"name": workload.name, "group": workload.group, "unit": workload.unit, "measure": workload.measure,
            "more": workload.more, "arms": arms, "goals": goals + floor_of(workload, arms), "rounds": rounds}
