# SPDX-License-Identifier: BSD-2-Clause
"""The blocked reader (invariant 3): a thread that sleeps in a receive gets its next byte in time while its connection wants
to join, whoever sleeps there (libc, raw system call, stdio; a thread or a forked process)."""
import contextlib

import pytest

from support.program import EAGER, PLAIN, Program, auto, built
from support.proof import proved

ITERATIONS = {"plain": 40, "eager": 200, "auto1": 200, "auto6": 100}


@pytest.mark.parametrize("kind", ["recv", "raw", "stdio"])
@pytest.mark.parametrize("arm", [PLAIN, EAGER, auto(1), auto(6)], ids=str)
def test_blocked_reader_is_never_stranded(helper, arm, kind):
    """A thread and a forked process side by side: both mostly wait."""
    iterations = ITERATIONS[arm.name]
    options = [f"iterations={iterations}", "deadline=90"]
    with helper.counting() as grown, contextlib.ExitStack() as stack:
        programs = [stack.enter_context(Program([built("conformance/blocked_reader"), kind, where, *options], arm, helper.socket))
                    for where in ("thread", "fork")]
        for result in [program.result(100) for program in programs]:
            assert result["iterations"] == iterations and result["late"] == 0
            # A raw system call on an armed end can see fact 4's EAGAIN: nothing in user space can repair that.
            if kind != "raw":
                assert result["eagain"] == 0, "EAGAIN on a blocking fd"
    if not arm.accelerated:
        assert grown["sockets_joined"] == 0
    elif kind == "recv":
        proved(grown["redirected_msgs"] > 0, lambda: f"nothing ever armed, so nothing was shown: {grown}\n{helper.explain()}")
