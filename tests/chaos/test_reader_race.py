# SPDX-License-Identifier: BSD-2-Clause
"""A receive that no wrapper sees begins at the very moment of the join: nobody is left asleep (invariant 3).

Asking the kernel for sleeping threads is not enough, however often: one that waits for the socket's lock, or for a CPU, does
not sleep yet. Several at once, so that they do wait for CPUs: 1 or 2 of 600 were stranded before the references to the
file were asked for, too."""
import contextlib

from support.helper import Helper
from support.program import EAGER, Program, built
from support.proof import proved

PROGRAMS = 5
CONNECTIONS = 600
SPAN_US = 400   # connect(), join and accept() take about that


def test_no_reader_is_stranded():
    with Helper() as helper, helper.counting() as grown, contextlib.ExitStack() as stack:
        programs = [stack.enter_context(Program([built("chaos/reader_race"), CONNECTIONS, 0, SPAN_US], EAGER, helper.socket))
                    for _ in range(PROGRAMS)]
        seen = [program.result(65) for program in programs]
    assert seen == [{"connections": CONNECTIONS, "stranded": 0}] * PROGRAMS, seen
    # Of some the reader slept before the join, which was refused; others were armed, and their bytes redirected.
    proved(grown["redirected_msgs"] > 0, grown)
