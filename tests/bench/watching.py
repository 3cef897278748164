# SPDX-License-Identifier: BSD-2-Clause
"""What it costs to be watched: a difference of 1 % or less, which runs one after the other do not show.

A round starts one pair of processes for each arm, all on one core, and lets them make round trips in turns of about a
millisecond: the machine's moods last longer than that and fall on all. An arm's value is the quietest tenth of its turns,
for interruptions only ever add: beside ten busy threads "again" came out within 0.7 % of 1 in every round. Two processes of
one program differ by themselves (where their memory lies): hence fresh ones in each round, and the arm "again", which must
come out as 1.
"""
import contextlib
import select
import subprocess

import statistics_ab as statistics
from arms import ARMS, Failed
from programs import Program, Session

ROUND_TRIPS = 100       # of one turn
QUIETEST = 0.1


class Commanded:
    """A pingpong under command (--commands 1)."""

    def __init__(self, command, environment):
        self.process = subprocess.Popen(command, env=environment, text=True, bufsize=1, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.expect = self._line()

    def _line(self):
        if not select.select([self.process.stdout], [], [], 20)[0]:
            raise Failed("pingpong does not answer")
        return self.process.stdout.readline().strip()

    def turn(self):
        """ns that one turn took."""
        self.process.stdin.write(f"{ROUND_TRIPS}\n")
        return int(self._line())

    def end(self):
        self.process.stdin.close()
        try:
            if self.process.wait(10):
                raise Failed(f"pingpong ended with {self.process.returncode}")
        except subprocess.TimeoutExpired as late:
            self.process.kill()
            self.process.wait()
            raise Failed("pingpong does not end") from late
        finally:
            self.process.stdout.close()


class Watching(Program):
    def __init__(self, **options):
        super().__init__("pingpong", commands=1, warm_up=0.05, **options)

    def session(self, treatment, workload, _arms):
        return WatchingSession(treatment, workload)


class WatchingSession(Session):
    def round(self, order, seconds):
        names = order[:len(order) // 2]
        self.treatment.quiet.wait()
        with contextlib.ExitStack() as stack:
            seen = {name: stack.enter_context(self.treatment.proved(ARMS[name], self.workload.redirects)) for name in names}
            pairs = {name: self.start(ARMS[name]) for name in names}
            try:
                turns = self.turns(pairs, seconds)
            finally:
                for pair in pairs.values():
                    pair.end()
        results = {name: dict(seen[name], arm=name, median_ns=statistics.percentile(turns[name], QUIETEST) / ROUND_TRIPS)
                   for name in names}
        return [results[name] for name in order]

    def start(self, arm):
        return Commanded(self.workload.load.command(arm, self.workload, 1),
                         self.treatment.environment_of_pair(arm, self.workload.sides))

    def turns(self, pairs, seconds):
        """Of each arm, ns of its turns; the arms change places from one palindrome to the next."""
        names, taken = list(pairs), {name: [] for name in pairs}
        spent = 0
        while spent < seconds * 1e9 * 4 * len(names):
            for name in names + names[::-1]:
                taken[name].append(pairs[name].turn())
                spent += taken[name][-1]
            names = names[1:] + names[:1]
        return taken
