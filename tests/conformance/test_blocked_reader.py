# SPDX-License-Identifier: BSD-2-Clause
"""The blocked reader (invariant 3): a thread that sleeps in a receive gets its next byte in time while its connection wants
to join, whoever sleeps there (libc, raw system call, stdio; a thread or a forked process)."""
import pytest

from support.program import EAGER, PLAIN, auto, built, run

ITERATIONS = {"plain": 40, "eager": 200, "auto1": 200, "auto6": 100}


@pytest.mark.parametrize("where", ["thread", "fork"])
@pytest.mark.parametrize("kind", ["recv", "raw", "stdio"])
@pytest.mark.parametrize("arm", [PLAIN, EAGER, auto(1), auto(6)], ids=str)
def test_blocked_reader_is_never_stranded(helper, arm, kind, where):
    iterations = ITERATIONS[arm.name]
    with helper.counting() as grown:
        result = run([built("conformance/blocked_reader"), kind, where, f"iterations={iterations}", "deadline=90"], arm,
                     helper.socket, timeout=100)
    assert result["iterations"] == iterations and result["late"] == 0
    # A raw system call on an armed end can see fact 4's EAGAIN: nothing in user space can repair that.
    if kind != "raw":
        assert result["eagain"] == 0, "EAGAIN on a blocking fd"
    if not arm.accelerated:
        assert grown["sockets_joined"] == 0
    elif kind == "recv" and where == "thread":
        assert grown["redirected_msgs"] > 0, f"nothing ever armed, so nothing was shown: {grown}\n{helper.explain()}"
