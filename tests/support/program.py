# SPDX-License-Identifier: BSD-2-Clause
"""Programs under test: built by the Makefile, run in an arm (plain, auto, eager), bounded, ended by pid.

An *arm* says how a program runs: PLAIN is plain TCP without the shim; auto(N) and EAGER preload it. The same workload in
PLAIN is the measure for what the others must look like.
"""
import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("SMACCEL_BUILD", ROOT / "build"))


class Arm:
    def __init__(self, name, admit, settings=None, shim="libsmaccel.so"):
        self.name = name
        self.admit = admit  # None: no shim
        self.settings = settings or {}
        self.shim = shim  # in the build folder

    def __repr__(self):
        return self.name

    @property
    def accelerated(self):
        return self.admit is not None

    def environment(self, socket):
        """The environment of a program in this arm; socket: the helper's path."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SMACCEL_ADMIT") and k != "LD_PRELOAD"}
        if self.accelerated:
            library = BUILD / self.shim
            if not library.exists():
                raise RuntimeError(f"{library} is missing: run make first")
            environment.update(LD_PRELOAD=str(library), SMACCEL_SOCKET=str(socket), SMACCEL_ADMIT=str(self.admit),
                               **self.settings)
        return environment


PLAIN = Arm("plain", None)
EAGER = Arm("eager", "eager")
AUTO = Arm("auto", "auto")


def auto(turns):
    return Arm(f"auto{turns}", turns)


def built(name):
    """The path of build/tests/<name>, e.g. "conformance/order"."""
    path = BUILD / "tests" / name
    if not path.exists():
        raise RuntimeError(f"{path} is missing: run make check (or make tests) first")
    return str(path)


def wait_end(process, timeout):
    """process.wait(timeout), without Python's naps of up to 50 ms between two looks."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(process.pid)
            try:
                waiting = select.poll()
                waiting.register(handle, select.POLLIN)
                waiting.poll(max(0, timeout) * 1000)
            finally:
                os.close(handle)
    return process.wait(0)


class Program:
    """A running program. Its output goes to files, so that it never blocks on a pipe."""

    def __init__(self, argv, arm=PLAIN, socket=None, netns=None, stdin=None):
        self.argv = [str(a) for a in argv]
        self.arm = arm
        self.files = [tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")]
        prefix = netns.prefix if netns else []
        self.process = subprocess.Popen(
            prefix + self.argv, env=arm.environment(socket), stdin=stdin or subprocess.DEVNULL,
            stdout=self.files[0], stderr=self.files[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    @property
    def pid(self):
        return self.process.pid

    def _text(self, index):
        # pread: the child shares the file's offset, so it must not be moved
        descriptor = self.files[index].fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")

    @property
    def out(self):
        return self._text(0)

    @property
    def err(self):
        return self._text(1)

    def wait_output(self, start, timeout=10):
        """Waits for a line on stdout that starts with `start`; returns the rest of it."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for line in self.out.splitlines(keepends=True):
                if line.startswith(start) and line.endswith("\n"):
                    return line[len(start):].strip()
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        raise AssertionError(f"no line {start!r} from {self.describe()}")

    def describe(self):
        status = self.process.poll()
        return (f"{self.arm} {' '.join(self.argv)}\nstatus: {'running' if status is None else status}\n"
                f"stdout:\n{self.out[-2000:]}\nstderr:\n{self.err[-6000:]}")

    def wait(self, timeout):
        try:
            return wait_end(self.process, timeout)
        except subprocess.TimeoutExpired:
            stacks = self.stacks()
            self.end()
            raise AssertionError(f"no end after {timeout} s: {self.describe()}\n{stacks}") from None

    def stacks(self):
        """Where its threads sleep in the kernel, for the report of a hang."""
        lines = []
        for task in sorted(Path(f"/proc/{self.pid}/task").glob("*"))[:40]:
            try:
                call = (task / "syscall").read_text().split()
                lines.append(f"thread {task.name}: {(task / 'wchan').read_text()} syscall {' '.join(call[:4])}")
            except OSError:
                continue
        return "\n".join(lines)

    def result(self, timeout):
        """Waits; asserts status 0; returns the JSON object of the last line on stdout."""
        assert self.wait(timeout) == 0, self.describe()
        return self.json()

    def json(self):
        lines = self.out.strip().splitlines()
        assert lines and lines[-1].startswith("{"), f"no result: {self.describe()}"
        return json.loads(lines[-1])

    def end(self):
        """Ends it and what it forked, by id. (All stay in the process group of the test, which tests/run can end.)"""
        if self.process.poll() is None:
            for pid in descendants(self.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_end(self.process, 10)


def descendants(pid):
    """pid, its children, theirs, and so on."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):  # also of glob(): the process may go away under it
            for task in Path(f"/proc/{parent}/task").glob("*/children"):
                found += [int(child) for child in task.read_text().split()]
    return found


def run(argv, arm=PLAIN, socket=None, netns=None, timeout=60):
    """Runs to the end; the JSON result."""
    with Program(argv, arm, socket, netns) as program:
        return program.result(timeout)
