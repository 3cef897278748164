# SPDX-License-Identifier: BSD-2-Clause
"""One run of a workload in one arm: a private folder, free ports, programs that all end with it.

A workload is a function of a Stage. It runs other people's programs, checks what it can, and returns what must be the same in every
arm: statuses, output, checksums, names of failed tests. Nothing in it may depend on ports, paths, process ids or the clock.
"""
import contextlib
import hashlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from support.apps import free_port, wait_until
from support.program import Program, descendants, wait_end

END_S = 5
# What a bulk stream has redirected before any rule of admission (32 doubtful sends in a row, 4 spills) takes it back to plain TCP. How
# much more it is depends on who gets the CPU.
STREAM_LEAST = 1 << 18
PR_SET_CHILD_SUBREAPER = 36


class Done:
    """A program that has ended."""

    def __init__(self, program):
        self.status = program.process.returncode
        self.out = program.out
        self.err = program.err
        self.describe = program.describe()


class Stage:
    """with Stage(arm, helper socket) as stage: ..."""

    def __init__(self, arm, helper_socket):
        self.arm = arm
        self.helper_socket = helper_socket
        self.directory = Path(tempfile.mkdtemp(prefix="smaccel-suite-"))
        self.directory.chmod(0o755)
        self.programs = []
        self.before = set(descendants(os.getpid()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for program in reversed(self.programs):
            self.stop(program)
        self._end_orphans()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end_orphans(self):
        """What a program left behind became this process's child (conftest.py makes it a subreaper)."""
        left = set(descendants(os.getpid())) - self.before
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    @property
    def accelerated(self):
        return self.arm.accelerated

    def _argv(self, argv, cwd, env, user):
        argv = [str(word) for word in argv]
        if user:
            entry = pwd.getpwnam(user)
            argv = ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups", "--", *argv]
        settings = [f"{name}={value}" for name, value in (env or {}).items()]
        return ["env", "-C", str(cwd or self.directory), *settings, *argv]

    def start(self, *argv, cwd=None, env=None, user=None, stdin=None):
        """A program in the background; it ends with the stage, by SIGTERM if it can."""
        program = Program(self._argv(argv, cwd, env, user), self.arm, self.helper_socket, stdin=stdin)
        self.programs.append(program)
        return program

    def serve(self, port, *argv, timeout=15, **options):
        """A server in the background; returns when its port answers."""
        program = self.start(*argv, **options)

        def answers():
            assert program.process.poll() is None, program.describe()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
        wait_until(answers, timeout, program.describe)
        return program

    def run(self, *argv, timeout=60, status=0, text=None, **options):
        """A program to its end. status: what it must end with; None: anything. text: its standard input."""
        with contextlib.ExitStack() as stack:
            if text is not None:
                options["stdin"] = stack.enter_context(tempfile.TemporaryFile())
                options["stdin"].write(text.encode())
                options["stdin"].seek(0)
            program = self.start(*argv, **options)
            program.wait(timeout)
            self.programs.remove(program)
        done = Done(program)
        assert status is None or done.status == status, done.describe
        return done

    def stop(self, program, with_signal=signal.SIGTERM):
        """Ends it: politely first, then it and all that it forked."""
        if program.process.poll() is None:
            program.process.send_signal(with_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                wait_end(program.process, END_S)
        program.end()
        if program in self.programs:
            self.programs.remove(program)

    def folder(self, name, mode=0o755):
        path = self.directory / name
        path.mkdir()
        path.chmod(mode)
        return path

    def write(self, name, text, mode=0o644):
        path = self.directory / name
        path.write_text(text)
        path.chmod(mode)
        return path

    port = staticmethod(free_port)

    @contextlib.contextmanager
    def timed(self, name, times):
        begun = time.monotonic()
        yield
        times[name] = time.monotonic() - begun


def random_file(path, size, seed=1):
    """A file of `size` random bytes, the same for the same seed."""
    generator = random.Random(seed)
    with open(path, "wb") as file:
        for first in range(0, size, 1 << 20):
            file.write(generator.randbytes(min(1 << 20, size - first)))
    path.chmod(0o644)
    return path


def checksum(path):
    """SHA-256, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree(folder):
    """{relative path: checksum} of every file below."""
    return {str(path.relative_to(folder)): checksum(path) for path in sorted(Path(folder).rglob("*"))
            if path.is_file() and not path.is_symlink()}
