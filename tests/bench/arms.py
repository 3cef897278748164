# SPDX-License-Identifier: BSD-2-Clause
"""The arms: the same programs, treated differently; and the proof that a run got its treatment.

Nothing but the environment (a preloaded library), the cgroup (the bypass) or the kind of socket (AF_UNIX) differs.
"""
import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from quiet import Quiet  # noqa: E402
from support.helper import Helper  # noqa: E402  (the tests' helper: a private smacceld)

BUILD = Path(os.environ.get("SMACCEL_BUILD", Path(__file__).resolve().parent.parent.parent / "build")).resolve()
PROGRAMS = BUILD / "tests/bench"
SERVER_PRELOAD = "SMACCEL_BENCH_SERVER_PRELOAD"     # peers.h


class Failed(Exception):
    """A run that gave no number, or did not get its treatment."""


@dataclass(frozen=True)
class Arm:
    name: str
    what: str
    admit: str = ""         # SMACCEL_ADMIT; "": without smaccel
    spin_us: int = 0        # SMACCEL_SPIN_US
    unix: bool = False
    bypass: bool = False


ARMS = {arm.name: arm for arm in [
    Arm("plain", "TCP, untouched"),
    Arm("again", "TCP once more: how far apart two equal arms come out"),
    Arm("auto", "smaccel as it is by default", admit="auto"),
    Arm("eager", "smaccel, SMACCEL_ADMIT=eager", admit="eager"),
    Arm("spin", "smaccel, SMACCEL_SPIN_US=50", admit="auto", spin_us=50),
    Arm("watched", "smaccel, watching and never joining", admit="1000000"),
    Arm("unix", "an AF_UNIX stream in the place of TCP: the goal", unix=True),
    Arm("bypass", "sock_ops and a sockhash keyed by 4-tuple, of a cgroup: the competition", bypass=True),
]}


class Bypass:
    """The competition on a cgroup of its own; both go away with it."""

    def __init__(self):
        self.stack = contextlib.ExitStack()
        self.cgroup = self.process = None

    def __enter__(self):
        try:
            self.cgroup = self._cgroup_root() / f"smaccel-bench-{os.getpid()}"
            self.cgroup.mkdir()
            self.stack.callback(self._remove)
            self.process = subprocess.Popen([str(PROGRAMS / "bypass"), str(self.cgroup)], text=True, bufsize=1,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.stack.callback(self._stop)
            if self._line() != "ready":
                raise Failed(f"the bypass does not load: {self.process.stderr.read()[-500:]}")
        except OSError as error:
            self.stack.close()
            raise Failed(f"no cgroup for the bypass: {error}") from error
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *_):
        self.stack.close()

    def _cgroup_root(self):
        """Where cgroup v2 is mounted; else a mount of our own."""
        for line in Path("/proc/mounts").read_text().splitlines():
            words = line.split()
            if words[2] == "cgroup2":
                return Path(words[1])
        folder = Path(tempfile.mkdtemp(prefix="smaccel-cgroup-"))
        self.stack.callback(folder.rmdir)
        subprocess.run(["mount", "-t", "cgroup2", "none", str(folder)], check=True, timeout=10)
        self.stack.callback(subprocess.run, ["umount", str(folder)], check=False, timeout=10)
        return folder

    def _remove(self):
        with contextlib.suppress(OSError):
            self.cgroup.rmdir()

    def _stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def _line(self, seconds=20):
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            raise Failed("the bypass does not answer")
        return self.process.stdout.readline().strip()

    def redirected_bytes(self):
        self.process.stdin.write("\n")
        return json.loads(self._line())["redirected_bytes"]

    def prefix(self):
        return ["/bin/sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self.cgroup / "cgroup.procs")]


class Treatment:
    """Gives each run its arm: environment, command prefix, counters. Holds the helper and, once asked for, the bypass."""

    def __init__(self):
        self.stack = contextlib.ExitStack()
        self.helper = self._bypass = None
        self.quiet = Quiet(0)       # a new one for each workload

    def __enter__(self):
        self.helper = self.stack.enter_context(Helper())
        return self

    def __exit__(self, *_):
        self.stack.close()

    def revive_helper(self):
        """A helper that has ended fails one workload, not all that come after it."""
        if self.helper.process.poll() is not None:
            self.helper.start()

    @property
    def bypass(self):
        if not self._bypass:
            self._bypass = self.stack.enter_context(Bypass())
        return self._bypass

    def environment(self, arm, shimmed=True):
        """Of one process; shimmed: whether this side of the workload is under the shim, where the arm has one."""
        environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD" and not k.startswith("SMACCEL")}
        if arm.admit:
            environment.update(SMACCEL_SOCKET=str(self.helper.socket), SMACCEL_ADMIT=arm.admit)
            if shimmed:
                environment["LD_PRELOAD"] = str(BUILD / "libsmaccel.so")
            if arm.spin_us:
                environment["SMACCEL_SPIN_US"] = str(arm.spin_us)
        return environment

    def environment_of_pair(self, arm, sides):
        """Of a program that starts its own server (peers.h). sides: "both", "client" or "server" under the shim."""
        environment = self.environment(arm, sides != "server")
        if arm.admit and sides != "both":
            environment[SERVER_PRELOAD] = str(BUILD / "libsmaccel.so") if sides == "server" else ""
        return environment

    def prefix(self, arm):
        return self.bypass.prefix() if arm.bypass else []

    @contextlib.contextmanager
    def proved(self, arm, redirects):
        """with treatment.proved(arm, redirects) as seen: one run; fails if the counters deny the treatment.

        redirects: the arms that redirect must do so (True), must not (False), may (None). seen has afterwards
        "redirected_bytes", "pairs_armed", "joins" and "helper_cpu_ns", the CPU time that the helper took."""
        before, seen = self.helper.totals(), {}
        bypassed = self.bypass.redirected_bytes() if arm.bypass else 0
        cpu_before = cpu_time_ns(self.helper.pid)
        yield seen
        seen["helper_cpu_ns"] = cpu_time_ns(self.helper.pid) - cpu_before
        after = self.helper.totals()
        redirected = after["redirected_bytes"] - before["redirected_bytes"]
        if arm.bypass:
            redirected = self.bypass.redirected_bytes() - bypassed
        seen["redirected_bytes"] = redirected
        seen["pairs_armed"] = after["pairs_armed_total"] - before["pairs_armed_total"]
        seen["joins"] = after["sockets_joined"] - before["sockets_joined"]
        if (arm.admit or arm.bypass) and redirects and redirected <= 0:
            raise Failed(f"{arm.name} redirected nothing")
        if redirected and (redirects is False or not (arm.admit or arm.bypass)):
            raise Failed(f"{redirected} bytes were redirected where none should be ({arm.name})")


def cpu_time_ns(pid):
    """Of a process's own threads, to the nanosecond."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total
