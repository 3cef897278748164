# SPDX-License-Identifier: BSD-2-Clause
"""A private smacceld for one test: its own socket and pin directory, both gone afterwards."""
import contextlib
import ctypes
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from .program import BUILD, wait_end

BPF_FS = Path("/sys/fs/bpf")
BPF_FS_MAGIC = 0xCAFE4A11
_numbers = itertools.count(1)


def _is_bpf_fs():
    buffer = (ctypes.c_long * 32)()
    return ctypes.CDLL(None).statfs(str(BPF_FS).encode(), buffer) == 0 and buffer[0] == BPF_FS_MAGIC


def ensure_bpf_fs():
    """systemd mounts it; containers and small VMs often do not."""
    if not _is_bpf_fs():
        subprocess.run(["mount", "-t", "bpf", "bpf", str(BPF_FS)], check=True, timeout=10)


class Helper:
    """with Helper("--test-bound", "4096") as helper: ... helper.socket, helper.totals()"""

    prefix = ()  # a command that runs it

    def __init__(self, *options):
        self.options = [str(o) for o in options]
        self.directory = Path(tempfile.mkdtemp(prefix="smaccel-test-"))
        self.directory.chmod(0o755)
        self.socket = self.directory / "s"
        self.pins = BPF_FS / f"smaccel-test-{os.getpid()}-{next(_numbers)}"
        self.process = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.stop()
        self.remove()

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, timeout=40):
        """Starts it (again) and waits for its "ready"."""
        program = BUILD / "smacceld"
        if not program.exists():
            raise RuntimeError(f"{program} is missing: run make first")
        ensure_bpf_fs()
        seen = len(self.log)
        with open(self.directory / "log", "a") as log:
            self.process = subprocess.Popen(
                [*self.prefix, str(program), "--socket", str(self.socket), "--pin-dir", str(self.pins), *self.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + timeout
        while "smacceld: ready" not in self.log[seen:]:
            if self.process.poll() is not None:
                raise AssertionError(f"smacceld ended with {self.process.returncode}:\n{self.log}")
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"smacceld is not ready after {timeout} s:\n{self.log}")
            time.sleep(0.005)

    def signal(self, number):
        os.kill(self.process.pid, number)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        wait_end(self.process, 10)

    def stop(self, timeout=10):
        """SIGTERM; must end by itself. Returns its status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.process.terminate()
            try:
                wait_end(self.process, timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"smacceld did not end {timeout} s after SIGTERM:\n{self.log}") from None
        return self.process.returncode

    def remove(self):
        if self.pins.exists():
            for path in sorted(self.pins.rglob("*"), reverse=True):
                with contextlib.suppress(OSError):
                    path.rmdir() if path.is_dir() else path.unlink()
            with contextlib.suppress(OSError):
                self.pins.rmdir()
        shutil.rmtree(self.directory, ignore_errors=True)

    def ask(self, *command):
        """`smaccel COMMAND --json`, parsed."""
        environment = dict(os.environ, SMACCEL_SOCKET=str(self.socket))
        environment.pop("LD_PRELOAD", None)
        done = subprocess.run([str(BUILD / "smaccel"), *command, "--json"], env=environment, timeout=15,
                              capture_output=True, text=True)
        assert done.returncode == 0, f"smaccel {' '.join(command)}: {done.returncode}\n{done.stderr}\n{self.log[-2000:]}"
        return json.loads(done.stdout)

    def status(self):
        return self.ask("status")

    def totals(self):
        return self.status()["totals"]

    @contextlib.contextmanager
    def counting(self):
        """with helper.counting() as grown: ...; afterwards grown["redirected_bytes"] is what came to it inside."""
        before, grown = self.totals(), {}
        yield grown
        after = self.totals()
        grown.update({k: v - before.get(k, 0) for k, v in after.items() if isinstance(v, (int, float))})

    def explain(self):
        """For the message of a failed assertion."""
        return f"status: {json.dumps(self.status(), indent=1)[-2500:]}\nhelper's log:\n{self.log[-2000:]}"


@contextlib.contextmanager
def stuck(helper, call_ms, when="enter", which="1+", call="bpf"):
    """The helper goes on, but each of its bpf(2) calls (or `which`, as strace counts) takes so long, before it does anything or (exit)
    afterwards: it is late in the middle of whatever it does. Or another program, in another call."""
    trace = subprocess.Popen(["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:delay_{when}={call_ms}ms:when={which}", "-p",
                              str(helper.pid)], stderr=subprocess.PIPE, text=True)
    try:
        seen = trace.stderr.readline()
        assert "attached" in seen, seen
        yield
    finally:
        trace.terminate()
        trace.communicate(timeout=10)
