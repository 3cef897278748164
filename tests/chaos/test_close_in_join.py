# SPDX-License-Identifier: BSD-2-Clause
"""close() in a signal handler, in the middle of the join of the connection that it closes."""
import errno
import signal

from support.apps import Commanded, wait_until
from support.helper import Helper
from support.program import EAGER, built


def test_bytes_that_came_before_the_join_was_noticed():
    """They were redirected, and nobody has read them: the peer sees a reset, as TCP has it."""
    with Helper() as helper, Commanded([built("chaos/close_in_join")], EAGER, helper.socket) as ends:
        assert ends.answer(5) == "connected"
        before = helper.totals()["pairs_armed_total"]
        helper.signal(signal.SIGSTOP)
        ends.commands.write("stopped\n")
        assert ends.answer(5) == "handler"
        helper.signal(signal.SIGCONT)
        wait_until(lambda: helper.totals()["pairs_armed_total"] == before + 1, 5, helper.explain)
        ends.commands.write("armed\n")
        assert ends.answer(5) == "sent"
        assert helper.totals()["redirected_msgs"] == 1, helper.explain()
        ends.commands.write("close\n")
        assert ends.answer(5) == {"end": errno.ECONNRESET}
