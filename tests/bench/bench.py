#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The benchmark: smaccel against plain TCP, AF_UNIX and the usual bypass, as ratios of one run.

Each round of a workload runs its arms as a palindrome (A B B A; A B C C B A), pinned alike; the arms change places from
round to round. A run counts only if the counters say that its bytes were redirected (or, where nothing may be, that none
were). Ends with status 1 if a run failed or proved nothing; a missed goal is shown, and fails only with --strict.
"""
import argparse
import json
import os
import platform
import resource
import signal
import sys
import time
from pathlib import Path

import plots
import profiles
import report
from arms import ARMS, BUILD, Failed, Treatment
from quiet import Quiet
from summary import summarize
from workloads import QUICK, WORKLOADS


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few workloads, plain and auto, 2 rounds of 0.4 s runs")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="workloads whose name has TEXT (repeatable)")
    parser.add_argument("--group", default="", help="groups of workloads, separated by commas")
    parser.add_argument("--arms", default="", help="arms, separated by commas; plain is always among them")
    parser.add_argument("--rounds", type=int, help="palindromes a workload (10)")
    parser.add_argument("--seconds", type=float, help="measured time of a run (0.2; servers more)")
    parser.add_argument("--patience", type=float, default=0, metavar="S",
                        help="seconds a workload to wait, in all, for moments when nothing else runs (0)")
    parser.add_argument("--nice", type=int, default=0, metavar="N", help="priority of all arms and the helper, -20..19 (0)")
    parser.add_argument("--profile", nargs="?", const="missed", choices=["missed", "all"],
                        help="of each workload that misses a goal, or of all: where the CPU time of an operation goes (perf)")
    parser.add_argument("--output", type=Path, default=BUILD / "bench", metavar="PREFIX",
                        help="PREFIX.json, PREFIX.md and PREFIX-*.svg are written (%(default)s)")
    parser.add_argument("--strict", action="store_true", help="a missed goal is a failure")
    parser.add_argument("--list", action="store_true", help="names workloads, groups and arms, and ends")
    options = parser.parse_args()
    if options.profile and profiles.missing():
        parser.error(f"--profile: {profiles.missing()}")
    options.rounds = options.rounds or (2 if options.quick else 10)
    options.seconds = options.seconds or (0.4 if options.quick else 0.2)
    return options


def print_list():
    for arm in ARMS.values():
        print(f"arm       {arm.name:8}  {arm.what}")
    for workload in WORKLOADS:
        print(f"{workload.group:9} {workload.name}  [{','.join(workload.arms)}]")


def chosen_workloads(options):
    groups = {name for name in options.group.split(",") if name}
    unknown = groups - {w.group for w in WORKLOADS}
    if unknown:
        sys.exit(f"no such group: {', '.join(sorted(unknown))} (--list names them)")
    found = [w for w in WORKLOADS if (not groups or w.group in groups)
             and (not options.only or any(text in w.name for text in options.only))
             and (not options.quick or options.only or groups or w.name in QUICK)]
    if not found:
        sys.exit("no workload is meant by that (--list names them)")
    return found


QUICK_TIMES_MAX = 4     # of the seconds asked for


def chosen_arms(options, workload):
    """Of the arms asked for, those that the workload has; an arm that is asked for by name need not be in its list, unless the workload
    is made for some other than auto."""
    asked = [name for name in options.arms.split(",") if name]
    unknown = set(asked) - set(ARMS)
    if unknown:
        sys.exit(f"no such arm: {', '.join(sorted(unknown))} (--list names them)")
    if not asked:
        return [name for name in workload.arms if not options.quick or name in ("plain", "auto")]
    own = [name for name in asked if name != "plain"
           and (name in workload.arms or (name != "unix" and "auto" in workload.arms))]
    return ["plain", *own]


def reason_to_leave_out(workload, arms, options):
    """In words; empty: none."""
    if arms == ["plain"] and options.arms.strip(",") != "plain":
        return f"it is made for the arms {', '.join(workload.arms[1:])}"
    here = os.sched_getaffinity(0)
    missing = [cpu for cpu in workload.cpus if cpu >= 0 and cpu not in here]
    return f"takes CPU {missing[0]}" if missing else workload.load.missing()


def missed(summary):
    return any(goal["met"] is False for goal in summary["goals"])


def measure(workload, arms, options, treatment):
    """Its summary, of all rounds; each is {arm: its two runs}."""
    rounds = []
    count = min(options.rounds, workload.rounds or options.rounds)
    times = min(workload.seconds, QUICK_TIMES_MAX) if options.quick else workload.seconds
    with workload.load.session(treatment, workload, arms) as session:
        for number in range(count):
            turned = arms[number % len(arms):] + arms[:number % len(arms)]
            runs = session.round(turned + turned[::-1], options.seconds * times)
            rounds.append({name: [run for run in runs if run["arm"] == name] for name in arms})
        summary = summarize(workload, arms, rounds)
        if options.profile == "all" or (options.profile and missed(summary)):
            summary["profiles"] = profiles.take(session, arms, options.seconds * times)
    return summary


def measure_all(options, chosen, treatment):
    summaries, failures = [], []
    for number, workload in enumerate(chosen, 1):
        arms = chosen_arms(options, workload)
        reason = reason_to_leave_out(workload, arms, options)
        if reason:
            print(f"left out: {workload.name}: {reason}", file=sys.stderr)
            continue
        begun = time.monotonic()
        treatment.quiet = Quiet(options.patience)
        try:
            summary = measure(workload, arms, options, treatment)
        except KeyboardInterrupt:
            failures.append(f"interrupted in {workload.name}: what comes after it was not measured")
            break
        # AssertionError: what the tests' Helper says of a helper that is gone. The others: a load that prints what nobody expected;
        # what was measured before is not to be lost for that.
        except (Failed, AssertionError, ArithmeticError, LookupError, OSError, TypeError, ValueError) as failure:
            print(f"FAILED: {workload.name}: {failure!r}", file=sys.stderr)
            failures.append(f"{workload.name}: {failure!r}")
            treatment.revive_helper()
            continue
        summary["foreign_threads"] = round(treatment.quiet.foreign(), 2)
        summaries.append(summary)
        print(f"{number}/{len(chosen)} {workload.name}: {report.ratios_line(summary)} "
              f"({time.monotonic() - begun:.0f} s)", file=sys.stderr)
    return summaries, failures


def main():
    options = parse_arguments()
    if options.list:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # ... | head
        print_list()
        return
    chosen = chosen_workloads(options)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))     # 10,000 connections
    os.nice(options.nice)
    signal.signal(signal.SIGTERM, signal.default_int_handler)   # also ends with a report of what was measured
    with Treatment() as treatment:
        begun = time.time()
        summaries, failures = measure_all(options, chosen, treatment)
        try:
            totals = treatment.helper.totals()
        except AssertionError:  # interrupted from the terminal: so was the helper
            totals = {}
    whole = {"begun": begun, "took_s": round(time.time() - begun), "kernel": platform.release(), "cpus": os.cpu_count(),
             "rounds": options.rounds, "seconds": options.seconds, "failures": failures, "workloads": summaries,
             "totals": totals}
    print(report.terminal(whole))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{options.output}.json").write_text(json.dumps(whole, indent=1) + "\n")
    Path(f"{options.output}.md").write_text(report.markdown(whole))
    print(f"\nnumbers of every run: {options.output}.json; report: {options.output}.md")
    print(plots.draw(whole, options.output))
    sys.exit(1 if failures or (options.strict and any(map(missed, summaries))) else 0)


if __name__ == "__main__":
    main()
