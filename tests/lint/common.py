# SPDX-License-Identifier: BSD-2-Clause
"""What the checks share: the project's files, lists of exceptions, the way to complain."""
import fnmatch
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def files(kind="all"):
    done = subprocess.run([str(HERE / "files"), kind], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


def text_of(name):
    return (ROOT / name).read_text(errors="replace")


class Exceptions:
    """tests/lint/exceptions: CHECK  PATTERN  REASON. One that nothing needs any more is itself a complaint."""

    def __init__(self, check):
        self.patterns = {}
        for line in (HERE / "exceptions").read_text().splitlines():
            fields = line.split(None, 2)
            if len(fields) == 3 and fields[0] == check:
                self.patterns[fields[1]] = False

    def covers(self, what):
        for pattern in self.patterns:
            if fnmatch.fnmatch(what, pattern):
                self.patterns[pattern] = True
                return True
        return False

    def unused(self):
        return [f"tests/lint/exceptions: {p}: no longer needed" for p, used in self.patterns.items() if not used]


def finish(complaints):
    for complaint in complaints:
        print(complaint)
    sys.exit(1 if complaints else 0)
