# SPDX-License-Identifier: BSD-2-Clause
"""In the middle of a join: a signal handler that closes the connection, or leaves by siglongjmp; another thread that closes it."""
import contextlib
import errno
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.apps import Commanded
from support.helper import Helper, stuck
from support.program import EAGER, PLAIN, Program, auto, built
from support.proof import proved


ARMED_S = 5
SETTLING_US = 10_000  # how long a call waits for another thread's join
WAITED_MS = 12
STUCK_MS = 3000


def until_armed(helper, ends, more=1):
    """Not proved: the handler ran before the join, or when it had been given up, as this process or the helper got no CPU for so long."""
    assert ends.answer(5) == "connected"
    before = helper.totals()["pairs_armed_total"]
    helper.signal(signal.SIGSTOP)
    ends.commands.write("stopped\n")
    assert ends.answer(5) == "handler"
    helper.signal(signal.SIGCONT)
    deadline = time.monotonic() + ARMED_S
    while helper.totals()["pairs_armed_total"] < before + more:
        proved(time.monotonic() < deadline, helper.explain)
        time.sleep(0.01)
    ends.commands.write("armed\n")


def test_bytes_that_came_before_the_join_was_noticed():
    """They were redirected, and nobody has read them: the peer sees a reset, as TCP has it."""
    with Helper() as helper, Commanded([built("chaos/close_in_join"), "close"], EAGER, helper.socket) as ends:
        until_armed(helper, ends)
        assert ends.answer(5) == "sent"
        assert helper.totals()["redirected_msgs"] == 1, helper.explain()
        ends.commands.write("close\n")
        assert ends.answer(5) == {"end": errno.ECONNRESET}


def test_others_do_not_wait_for_a_join_that_was_left():
    """Nobody ends it any more. The other threads' calls wait for it once, not each time."""
    with Helper() as helper, Commanded([built("chaos/close_in_join"), "jump"], EAGER, helper.socket) as ends:
        until_armed(helper, ends)
        assert ends.answer(5)["us"] < SETTLING_US / 2


def test_others_do_not_wait_for_a_session_that_was_left():
    """Nobody else can ask for one any more. The other threads' connects wait for it once, not each time."""
    with Helper() as helper, Commanded([built("chaos/close_in_join"), "early"], EAGER, helper.socket) as ends:
        until_armed(helper, ends, 0)
        assert ends.answer(5)["us"] < SETTLING_US / 2


@contextlib.contextmanager
def stopped(helper):
    helper.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        helper.signal(signal.SIGCONT)


def seen_by_call(what, arm=PLAIN, helper=None, silenced=contextlib.nullcontext):
    argv = [sys.executable, Path(__file__).with_name("closed_in_step.py"), what]
    with Program(argv, arm, helper and helper.socket, stdin=subprocess.PIPE) as program:
        program.wait_output('{"ready": true}')
        with silenced(helper):
            program.process.stdin.write(b"\n")
            program.process.stdin.close()
            seen = program.result(20)
    return seen.pop("took_ms"), seen


# A helper that is stuck keeps the fd: then the end of the connection is up to the close, which waits for the call.
@pytest.mark.parametrize("how", ["send", "recv", "sendmmsg", "recvmmsg", "send-stuck", "recv-stuck"])
def test_a_call_that_began_with_the_join_goes_on_when_another_thread_closes(how):
    """The fd was its own when it began: over TCP it would have been over long before the close. EBADF it was."""
    what, _, is_stuck = how.partition("-")
    with Helper() as helper:
        took_ms, seen = seen_by_call(what, auto(1), helper, (lambda helper: stuck(helper, STUCK_MS)) if is_stuck else stopped)
    assert seen == seen_by_call(what)[1]
    proved(took_ms > WAITED_MS, took_ms)
