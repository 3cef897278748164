#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The benchmark: each workload plain (A) and accelerated (B) in blocks A B B A, as ratios of one run.

The arms are the same binaries, pinned alike, with and without LD_PRELOAD. An accelerated run counts only if the helper's
counters say that its bytes were redirected (or, where nothing may be, that none were). Ends with status 1 if a run failed
or proved nothing; a missed goal is shown, and fails only with --strict.
"""
import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

import statistics_ab as statistics
import workloads
from workloads import WORKLOADS, Failed

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from support.helper import Helper  # noqa: E402  (the tests' helper: a private smacceld)

BUILD = Path(os.environ.get("SMACCEL_BUILD", HERE.parent.parent / "build")).resolve()
UNITS = {"us": (1e-3, "us"), "ns": (1, "ns"), "MB/s": (1e-6, "MB/s"), "1/s": (1, "/s")}


def environment_of(arm, workload, helper):
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD" and not k.startswith("SMACCEL")}
    if arm == "B":
        environment.update(LD_PRELOAD=str(BUILD / "libsmaccel.so"), SMACCEL_SOCKET=str(helper.socket),
                           SMACCEL_ADMIT=workload.admit)
    return environment


def run_arm(arm, workload, seconds, helper):
    """One run, with the proof of its treatment in "redirected_bytes"."""
    before = helper.totals()["redirected_bytes"]
    result = workloads.run_once(BUILD / "tests/bench", workload, seconds, environment_of(arm, workload, helper))
    redirected = helper.totals()["redirected_bytes"] - before
    wanted = arm == "B" and workload.redirects
    if wanted and redirected <= 0:
        raise Failed("the accelerated arm redirected nothing")
    if not wanted and redirected:
        raise Failed(f"{redirected} bytes were redirected where none should be")
    return dict(result, arm=arm, redirected_bytes=redirected)


def run_workload(workload, blocks, seconds, helper):
    done = []
    for _ in range(blocks):
        done.append([run_arm(arm, workload, seconds, helper) for arm in statistics.ORDER])
    return done


def meets(goal, ratio, difference):
    if goal.startswith("+"):
        return difference <= float(goal[1:])
    bound = float(goal[2:])
    return ratio <= bound if goal.startswith("<=") else ratio >= bound


def summarize(workload, blocks):
    values = [[run[workload.measure] for run in block] for block in blocks]
    ratio = statistics.ratio(values)
    difference = statistics.difference(values)
    summary = {
        "name": workload.name, "measure": workload.measure, "goal": workload.goal,
        "plain": statistics.arm_median(values, "A"), "accelerated": statistics.arm_median(values, "B"),
        "ratio": ratio.value, "ratio_low": ratio.low, "ratio_high": ratio.high, "difference": difference,
        "met": meets(workload.goal, ratio.value, difference),
        "redirected_bytes": sum(run["redirected_bytes"] for block in blocks for run in block),
        "runs": blocks,
    }
    if workload.tail:
        summary["tail_ratio"] = statistics.ratio([[run[workload.tail] for run in block] for block in blocks]).value
    return summary


def table_row(workload, summary):
    factor, unit = UNITS[workload.unit]
    digits = 1 if workload.unit != "1/s" else 0
    goal = summary["goal"] + (f" {unit}" if summary["goal"].startswith("+") else "")
    return [workload.name, f"{summary['plain'] * factor:.{digits}f} {unit}",
            f"{summary['accelerated'] * factor:.{digits}f} {unit}", f"{summary['ratio']:.3f}",
            f"{summary['ratio_low']:.3f}..{summary['ratio_high']:.3f}",
            f"{summary['tail_ratio']:.2f}" if "tail_ratio" in summary else "-",
            goal, "met" if summary["met"] else "MISSED", f"{summary['redirected_bytes'] / 2**20:.1f} MiB"]


TITLES = ["workload", "plain TCP", "accelerated", "ratio", "95 % of it", "p99 ratio", "goal", "", "redirected"]


def print_table(rows):
    widths = [max(len(row[i]) for row in [TITLES, *rows]) for i in range(len(TITLES))]
    for row in [TITLES, *rows]:
        print("  ".join(text.ljust(width) if i == 0 else text.rjust(width)
                        for i, (text, width) in enumerate(zip(row, widths))).rstrip())


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="2 blocks of 0.4 s runs")
    parser.add_argument("--blocks", type=int, help="A B B A blocks a workload (5)")
    parser.add_argument("--seconds", type=float, help="measured time of a run (1)")
    parser.add_argument("--only", default="", metavar="TEXT", help="workloads whose name has TEXT")
    parser.add_argument("--json", type=Path, default=BUILD / "bench.json", help="where the numbers go (%(default)s)")
    parser.add_argument("--strict", action="store_true", help="a missed goal is a failure")
    options = parser.parse_args()
    options.blocks = options.blocks or (2 if options.quick else 5)
    options.seconds = options.seconds or (0.4 if options.quick else 1)
    return options


def measure_all(options, chosen, helper):
    summaries, rows, failures = [], [], 0
    for workload in chosen:
        reason = workloads.usable(workload)
        if reason:
            print(f"left out: {workload.name}: {reason}", file=sys.stderr)
            continue
        try:
            summary = summarize(workload, run_workload(workload, options.blocks, options.seconds, helper))
        except Failed as failure:
            print(f"FAILED: {workload.name}: {failure}", file=sys.stderr)
            failures += 1
            continue
        summaries.append(summary)
        rows.append(table_row(workload, summary))
        print(f"done: {workload.name}: {summary['ratio']:.3f}", file=sys.stderr)
    return summaries, rows, failures


def main():
    options = parse_arguments()
    chosen = [w for w in WORKLOADS if options.only in w.name]
    if not chosen:
        sys.exit(f"no workload has {options.only!r} in its name")
    with Helper() as helper:
        begun = time.time()
        summaries, rows, failures = measure_all(options, chosen, helper)
        status = helper.status()
    print_table(rows)
    print(f"\n{options.blocks} blocks A B B A of {options.seconds} s runs; ratio: accelerated / plain TCP, median of the blocks; "
          f"Linux {platform.release()}, {os.cpu_count()} CPUs")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"begun": begun, "kernel": platform.release(), "cpus": os.cpu_count(),
                                        "blocks": options.blocks, "seconds": options.seconds, "workloads": summaries,
                                        "totals": status["totals"]}, indent=1) + "\n")
    print(f"numbers of every run: {options.json}")
    missed = [s["name"] for s in summaries if not s["met"]]
    sys.exit(1 if failures or (options.strict and missed) else 0)


if __name__ == "__main__":
    main()
