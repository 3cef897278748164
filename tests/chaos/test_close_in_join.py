# SPDX-License-Identifier: BSD-2-Clause
"""A signal handler in the middle of a join: it closes the connection, or leaves by siglongjmp."""
import errno
import signal
import time

from support.apps import Commanded
from support.helper import Helper
from support.program import EAGER, built
from support.proof import proved


ARMED_S = 5
SETTLING_US = 10_000  # how long a call waits for another thread's join


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
