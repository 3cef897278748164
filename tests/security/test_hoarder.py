# SPDX-License-Identifier: BSD-2-Clause
"""A user who has a great many of something does not keep others from what is theirs."""
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from support.apps import NOBODY
from support.helper import Helper
from support.program import BUILD, EAGER, Program, built
from support.proof import proved

PAIRS = 4200        # undrained and to leave: more than the helper looks after for all users together
DOORS = 3000        # with a request in each
UNREAD = 300        # processes with two messages each, of an fd each, that they do not read
UNPROVED = 1000     # pairs
SESSIONS = 100      # with 65,535 connections in each, as it says
STUFFED = 2         # times 320,000 watches, which the kernel takes 0.1 s and more to forget
LOOP_STUFFED_S = 0.05
END_S = 8           # what lingers does so for 30 s
BACKLOG = 60        # connections
HELD_UP_S = 0.25    # beside what the machine's other work holds it up
FDS = 2 * PAIRS + 100
PATIENCE_S = 3      # the honest one does a dozen things that take microseconds


def copy_for_everybody(helper):
    program = shutil.copy(built("security/hoarder"), helper.directory)
    os.chmod(program, 0o755)
    return program


@contextlib.contextmanager
def hoarding(helper, program, said, *what):
    """A user who does that, from when it has said so until the end of the block."""
    read_end, write_end = os.pipe()
    with Program(["prlimit", f"--nofile={FDS}", *NOBODY, program, helper.socket, *what], stdin=read_end) as hoard:
        os.close(read_end)
        hoard.wait_output(said, 60)
        yield
        os.close(write_end)
        assert hoard.wait(20) == 0, hoard.describe()


def test_others_are_served():
    """By a helper of its own: what is left of the flood is in the way of that user's other programs for a while."""
    with Helper() as helper:
        program = copy_for_everybody(helper)
        with Program(["prlimit", f"--nofile={FDS}", *NOBODY, program, helper.socket, "flood", DOORS]) as flood:
            flood.wait_output("flooding", 30)
            for _ in range(3):
                with Program([program, helper.socket, "leave"]) as honest:
                    assert honest.wait(PATIENCE_S) == 0, honest.describe()
            assert flood.process.poll() is None, flood.describe()


def test_others_can_leave(helper):
    program = copy_for_everybody(helper)
    with hoarding(helper, program, "hoarding", "hoard", PAIRS), Program([program, helper.socket, "leave"]) as honest:
        assert honest.wait(20) == 0, honest.describe() + str(helper.explain())


PASS_AN_FD = """
import os, socket
near, far = socket.socketpair()
socket.send_fds(near, [b"x"], [0])
os.close(socket.recv_fds(far, 1, 1)[1][0])
"""


def test_root_can_pass_fds(helper):
    """What is sent and not received counts for the sender's user, and keeps its processes without capabilities from sending more."""
    with hoarding(helper, copy_for_everybody(helper), "unread", "unread", UNREAD):
        subprocess.run(["prlimit", f"--nofile={UNREAD}", "setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", PASS_AN_FD],
                       check=True, timeout=20)


CONNECTS = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
for _ in range(100):
    with socket.create_connection(listener.getsockname()) as near, listener.accept()[0] as far:
        for one, other in [(near, far), (far, near)] * 20:
            one.sendall(b"x")
            other.recv(1)
"""


def test_others_are_accelerated():
    """Each try to arm one of that user's pairs takes long, and is in vain, fifty times."""
    with Helper() as helper:
        with hoarding(helper, copy_for_everybody(helper), "unproved", "unproved", UNPROVED):
            with helper.counting() as grown, Program([sys.executable, "-c", CONNECTS], EAGER, helper.socket) as honest:
                assert honest.wait(60) == 0, honest.describe()
        proved(grown["pairs_armed_total"] >= 80, grown)


class Clocked(threading.Thread):
    """Asks the helper for its status again and again: how long the longest answer took."""

    def __init__(self, helper):
        super().__init__()
        self.helper, self.over, self.longest_s = helper, False, 0

    def run(self):
        while not self.over:
            before = time.monotonic()
            self.helper.totals()
            self.longest_s = max(self.longest_s, time.monotonic() - before)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.join()


def test_the_end_of_a_trial_holds_nobody_up(helper):
    """It looks at each connection that took part, as far as their processes say."""
    program = copy_for_everybody(helper)
    read_end, write_end = os.pipe()

    def trial(command):
        subprocess.run([BUILD / "smaccel", "trial", command], env=dict(os.environ, SMACCEL_SOCKET=str(helper.socket)), check=True,
                       timeout=10, stdout=subprocess.DEVNULL)

    with Program([*NOBODY, program, helper.socket, "fill", SESSIONS], stdin=read_end) as filler:
        os.close(read_end)
        filler.wait_output("filled", 30)
        longest = []
        while not longest or longest[-1][0] >= HELD_UP_S + longest[-1][1] and len(longest) < 4:  # what holds it up does so each time
            trial("start")
            with Clocked(helper) as before:
                time.sleep(1)
            with Clocked(helper) as clocked:
                time.sleep(0.1)
                trial("stop")
                time.sleep(1)
            longest.append((clocked.longest_s, before.longest_s))
        assert longest[-1][0] < HELD_UP_S + longest[-1][1], longest
        os.close(write_end)
        assert filler.wait(20) == 0, filler.describe()


def loop_s(helper):
    """CPU time of the helper's loop."""
    return int(Path(f"/proc/{helper.pid}/task/{helper.pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


def test_what_takes_long_to_close_is_not_closed_on_the_loop():
    """It is in the queue of a socket of the helper's, which hangs up without having received it. By a helper that has nothing else to do."""
    with Helper() as helper:
        before_s = loop_s(helper)
        with Program(["prlimit", f"--nofile={FDS}", *NOBODY, copy_for_everybody(helper), helper.socket, "stuff", STUFFED]) as stuffer:
            assert stuffer.wait(60) == 0, stuffer.describe()
        assert loop_s(helper) - before_s < LOOP_STUFFED_S, loop_s(helper) - before_s


def test_what_lingers_unaccepted_does_not_hold_up_the_end():
    """The helper had no CPU for so long that connections wait."""
    with Helper() as helper:
        read_end, write_end = os.pipe()
        os.kill(helper.pid, signal.SIGSTOP)
        with Program([*NOBODY, copy_for_everybody(helper), helper.socket, "backlog", BACKLOG], stdin=read_end) as sender:
            os.close(read_end)
            sender.wait_output("sent", 30)
            helper.process.terminate()
            os.kill(helper.pid, signal.SIGCONT)
            helper.process.wait(END_S)
            os.close(write_end)
            sender.wait(20)
