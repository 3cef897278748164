# SPDX-License-Identifier: BSD-2-Clause
"""What else the machine does: looked at between the runs, when nothing of the benchmark's own is busy."""
import time
from pathlib import Path

LOOK_S = 0.03
BUSY = 0.25     # threads on average: more is waited out, while patience lasts


def runnable():
    """Threads that run or want to, this one not counted."""
    return max(0, int(Path("/proc/loadavg").read_text().split()[3].split("/")[0]) - 1)


class Quiet:
    """Waits for a quiet moment before each run, for `patience` seconds in all; keeps what it saw."""

    def __init__(self, patience):
        self.left, self.seen = patience, []

    def wait(self):
        while True:
            samples = []
            for _ in range(6):
                time.sleep(LOOK_S / 6)
                samples.append(runnable())
            load = sum(samples) / len(samples)
            if load <= BUSY or self.left <= 0:
                self.seen.append(load)
                return
            self.left -= LOOK_S

    def foreign(self):
        """Foreign threads that wanted a CPU, on average, when runs began."""
        return sum(self.seen) / len(self.seen) if self.seen else 0.0
