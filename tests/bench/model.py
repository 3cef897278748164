# SPDX-License-Identifier: BSD-2-Clause
"""What a workload is, and a goal of it."""
from dataclasses import dataclass

FLOOR = 0.97    # what no workload of the default arm may fall below, as speed relative to plain TCP


@dataclass(frozen=True)
class Goal:
    bound: str              # "<= 0.62", ">= 1.3"; for a difference "+20": at most so much more, in the measure's unit
    arm: str = "auto"
    base: str = "plain"
    kind: str = "ratio"     # of the arms' values; "difference" of them; "value": of the arm's alone; "tail": ratio of tails;
                            # "helper us a join": of the arm's alone

    def met(self, number):
        if self.bound.startswith("+"):
            return number <= float(self.bound[1:])
        limit = float(self.bound[2:])
        return number <= limit if self.bound.startswith("<=") else number >= limit

    def __str__(self):
        if self.kind == "value":
            return f"{self.arm} {self.bound}"
        if self.kind == "helper us a join":
            return f"{self.arm} {self.kind} {self.bound}"
        what = {"tail": "p99 ", "difference": "", "ratio": ""}[self.kind]
        return f"{what}{self.arm}/{self.base} {self.bound}" if self.kind != "difference" else f"{self.arm} {self.bound}"


@dataclass(frozen=True)
class Workload:
    name: str
    group: str
    unit: str               # how the measure is shown: "us" (from ns), "ns", "MB/s", "1/s", "x" (a plain number)
    measure: str            # the number that the ratios are of
    load: object            # .missing() a reason not to run, or ''; .session(treatment, workload, arms): see programs.py
    cpus: tuple = (0, 0)    # client, server; -1: anywhere
    more: bool = False      # more is better
    tail: str = ""          # the number shown as p99
    goals: tuple = ()
    arms: tuple = ("plain", "auto")
    redirects: object = True    # the accelerated arms must redirect; False: must not; None: may
    least_armed: int = 0    # pairs that a run must arm, where it may redirect
    sides: str = "both"     # under the shim: "both", "client", "server"
    seconds: float = 1      # times the seconds asked for
    rounds: int = 0         # at most so many; 0: as asked for

    def speed(self, ratio):
        """A ratio of the measure as relative speed: more is better."""
        return ratio if self.more else 1 / ratio
