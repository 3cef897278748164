# SPDX-License-Identifier: BSD-2-Clause
"""Loads that are programs of this folder. A load gives a session for some arms, the session makes rounds:

    with load.session(treatment, workload, arms) as session: session.round(order, seconds)

`order` names the arms in the order of the runs; what comes back is one dict of numbers for each.
"""
import json
import os
import subprocess

from arms import ARMS, PROGRAMS, Failed


def finished(command, environment, seconds):
    """The standard output of a command that must end well within `seconds`, and its CPU time in ns, children included."""
    before = os.times()
    try:
        done = subprocess.run(command, env=environment, timeout=seconds, capture_output=True, text=True)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{command[0]}: not done after {seconds:.0f} s") from late
    if done.returncode:
        raise Failed(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()[-300:]}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return done.stdout, cpu * 1e9


class Session:
    """Runs come one by one; each is proved."""

    def __init__(self, treatment, workload):
        self.treatment, self.workload = treatment, workload

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def round(self, order, seconds):
        results = []
        for name in order:
            self.treatment.quiet.wait()
            results.append(self.proved_run(ARMS[name], seconds))
        return results

    def proved_run(self, arm, seconds):
        with self.treatment.proved(arm, self.workload.redirects) as seen:
            result = self.run(arm, seconds)
        if arm.admit and seen["pairs_armed"] < self.workload.least_armed:
            raise Failed(f"only {seen['pairs_armed']} pairs were armed ({arm.name})")
        return dict(result, arm=arm.name, **seen)

    def run(self, arm, seconds):
        raise NotImplementedError


class Program:
    """A program that starts its own server (peers.h); options become its arguments."""

    def __init__(self, name, **options):
        self.name, self.options = name, options

    def missing(self):
        return ""

    def session(self, treatment, workload, _arms):
        return ProgramSession(treatment, workload)

    def command(self, arm, workload, seconds):
        options = dict(self.options, seconds=seconds, client_cpu=workload.cpus[0], server_cpu=workload.cpus[1],
                       unix=int(arm.unix))
        return [str(PROGRAMS / self.name)] + [text for name, value in options.items()
                                              for text in (f"--{name.replace('_', '-')}", str(value))]


class ProgramSession(Session):
    def run(self, arm, seconds):
        workload = self.workload
        command = self.treatment.prefix(arm) + workload.load.command(arm, workload, seconds)
        out, _ = finished(command, self.treatment.environment_of_pair(arm, workload.sides), seconds + 90)
        return json.loads(out)
