# SPDX-License-Identifier: BSD-2-Clause
"""For tests of whole applications: programs that take commands, servers with a port of their own, waiting for facts."""
import contextlib
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from .program import AUTO, EAGER, PLAIN, Program, auto, wait_end

ARMS = [PLAIN, auto(1), AUTO, EAGER]
ACCELERATED = [auto(1), AUTO, EAGER]
SERVER_PORTS = (15000, 32000)
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]


def wait_until(fact, timeout=5.0, why="nothing"):
    """Waits until fact() is true; returns its value. why: text, or what gives the text of the failure."""
    deadline = time.monotonic() + timeout
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {why() if callable(why) else why}")
        time.sleep(0.01)


def median(values):
    return statistics.median(values)


def fd_count(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def strace_counts(path):
    """The calls that a strace -c counted, by name."""
    rows = [line.split() for line in path.read_text().splitlines()]
    return {row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[3].isdigit() and row[-1] != "total"}


def ss_rows(helper):
    """The rows of `smaccel ss --json`."""
    answer = helper.ask("ss")
    return answer if isinstance(answer, list) else answer["connections"]


class Commanded(Program):
    """A program that reads a command a line and answers each with one JSON line."""

    def __init__(self, argv, arm=PLAIN, helper_socket=None):
        read_end, write_end = os.pipe()
        try:
            super().__init__(argv, arm, helper_socket, stdin=read_end)
        finally:
            os.close(read_end)
        self.commands = os.fdopen(write_end, "w", buffering=1)
        self.lines = 0

    def end(self):
        """The end of the commands is the end of the program."""
        self.commands.close()
        try:
            wait_end(self.process, 2)
        except subprocess.TimeoutExpired:
            super().end()

    def answer(self, timeout):
        deadline = time.monotonic() + timeout
        while self.out.count("\n") <= self.lines:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"no answer: {self.describe()}\n{self.stacks()}")
            time.sleep(0.002)
        self.lines += 1
        return json.loads(self.out.splitlines()[self.lines - 1])

    def ask(self, command, timeout=15):
        self.commands.write(command + "\n")
        return self.answer(timeout)


def free_port():
    """Below the ports that connections get (ip_local_port_range), so that none of theirs comes in between."""
    for _ in range(1000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", random.randrange(*SERVER_PORTS)))
            return probe.getsockname()[1]
    raise AssertionError("no free port")


class Server:
    """An application server: started in an arm, waited for until its port answers, ended with SIGTERM.

    command: what makes its argv from (port, directory), a private directory that every user can enter.
    """

    def __init__(self, command, arm=PLAIN, helper_socket=None):
        self.directory = Path(tempfile.mkdtemp(prefix="smaccel-app-"))
        self.directory.chmod(0o777)
        self.port = free_port()
        self.program = None
        self.start = lambda: Program(command(self.port, self.directory), arm, helper_socket)

    def _answers(self):
        assert self.program.process.poll() is None, self.program.describe()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def __enter__(self):
        try:
            self.program = self.start()
            wait_until(self._answers, 10, self.program.describe)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.program:
            self.program.process.terminate()
            try:
                wait_end(self.program.process, 5)
            except subprocess.TimeoutExpired:
                pass
            self.program.end()
        shutil.rmtree(self.directory, ignore_errors=True)
