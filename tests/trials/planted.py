#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Differences that were really planted: `smaccel ab` over real connections, through a proxy that is slower in one arm.

  tests/trials/planted.py [--trials 100] [--percent 0 2 5 20] [--rounds 12] [--requests 60] [--cpu N] [--save FILE]

  round_trips  --TCP-->  delaying_proxy  --TCP-->  slow_service        all three on one CPU; the service's times are seeded
  (CMD)                  (the server of ab)        (one a trial)

Each trial is a whole `smaccel ab --aa`: both arms are plain TCP under the shim, for acceleration would be a second difference. Arm B's
proxy holds each answer back for so many percent of the time it took; arm A's environment has the same variable, of the same
length, that says 00. The margin is 1 %: half of the smallest difference that is to be found.

A trial runs under SCHED_RR where that may be had, both arms alike: what else runs on the machine would otherwise add its own differences.
A full run (`make check-planted`) takes 400 trials of 3 s; its last lines are what README quotes, its exit status is whether
they are good enough. Where there is nothing to find, "strict" counts what would be called a difference without a margin to hide in: the
interval does not hold 1 and the rank test agrees.
"""
import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import ab  # noqa: E402
from support.apps import free_port  # noqa: E402

ROUNDS, REQUESTS, MARGIN_PERCENT = 12, 60, 1
PRIORITY = 10
TRIAL_TIMEOUT_S = 60
PROGRAMS = ab.BUILD / "tests/trials"
# Of 100: found at least, called a difference where there is none at most.
FOUND_PART, FALSE_PART = 0.95, 0.05


def shielded(cpu):
    """For subprocess: on that CPU, before all programs of the usual kind; without the right to that, only on that CPU."""
    def prepare():
        os.sched_setaffinity(0, {cpu})
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    return prepare


@contextlib.contextmanager
def slow_service(seed, cpu):
    """Its port."""
    with subprocess.Popen([PROGRAMS / "slow_service", "--seed", str(seed)], stdout=subprocess.PIPE, text=True,
                          env=ab.environment(), preexec_fn=shielded(cpu)) as process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def trial(percent, seed, cpu, rounds=ROUNDS, requests=REQUESTS):
    """One trial: its report."""
    with slow_service(seed, cpu) as behind:
        port = free_port()  # only now: it could be the service's otherwise
        process = ab.start(
            "--json", "--quiet", "--aa", "--warmup", 0, "--rounds", rounds, "--margin", MARGIN_PERCENT, "--seed", seed, "--pin", cpu,
            "--timeout", 20, "--a-env", "DELAY_PERCENT=00", "--b-env", f"DELAY_PERCENT={percent:02}",
            "--metric", "latency:us=p50 ([0-9.]+)",
            "--server", f"{PROGRAMS / 'delaying_proxy'} --port {port} --to {behind}", "--ready", port,
            "--", PROGRAMS / "round_trips", "--port", port, "--count", requests, preexec_fn=shielded(cpu))
        status, out, err = ab.finish(process, TRIAL_TIMEOUT_S)
    assert status == 0, f"exit status {status}\n{out[-1500:]}\n{err}"
    return json.loads(out)


def is_strictly_different(report):
    """Without a margin."""
    latency = ab.metric(report, "latency")
    return latency["p"] <= 0.05 and not latency["ratio"]["low"] <= 1 <= latency["ratio"]["high"]


def summarize(percent, reports):
    """Counts, and the median of what was measured."""
    verdicts = [report["verdict"] for report in reports]
    ratios = sorted(ab.metric(report, "latency")["ratio"]["value"] for report in reports)
    return {"percent": percent, "trials": len(reports), "slower": verdicts.count("slower"), "faster": verdicts.count("faster"),
            "undecided": verdicts.count("not-enough-data"), "none": verdicts.count("no-difference"),
            "strict": sum(map(is_strictly_different, reports)), "ratio": ratios[len(ratios) // 2]}


def is_good(summary):
    if summary["percent"]:
        return summary["slower"] >= FOUND_PART * summary["trials"]
    return summary["slower"] + summary["faster"] <= FALSE_PART * summary["trials"]


def line(summary):
    return ("planted {percent:2} %: of {trials} trials {slower} slower, {faster} faster, {undecided} undecided, {none} no difference; "
            "without a margin {strict} differ; median ratio {ratio:.4f}").format(**summary)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--percent", type=int, nargs="+", default=[0, 2, 5, 20])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--save")
    arguments = parser.parse_args()
    reports = {percent: [] for percent in arguments.percent}
    begun = time.monotonic()
    for seed in range(1, arguments.trials + 1):
        for percent, done in reports.items():
            done.append(trial(percent, seed, arguments.cpu, arguments.rounds, arguments.requests))
        if arguments.save:
            with open(arguments.save, "w", encoding="utf-8") as out:
                json.dump({percent: [dict(ab.metric(r, "latency"), verdict=r["verdict"]) for r in done]
                           for percent, done in reports.items()}, out)
        if seed % 10 == 0 or seed == arguments.trials:
            print(f"after {time.monotonic() - begun:.0f} s:", *(line(summarize(*item)) for item in reports.items()), sep="\n", flush=True)
    return not all(is_good(summarize(*item)) for item in reports.items())


if __name__ == "__main__":
    sys.exit(main())
