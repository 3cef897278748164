# SPDX-License-Identifier: BSD-2-Clause
"""close() in one thread while another is in the middle of an offer, a join or a call: no crash, FIN or reset as TCP has it, nothing is left."""
import collections
import contextlib

import pytest
from support.apps import median, wait_until
from support.program import EAGER, PLAIN, Program, auto, built, run
from support.scale import scaled

ROUNDS, COPIES = scaled(6), 16


# With the cell looked at again after another thread's close() had taken it away, the client ended with SIGSEGV within
# 1,500 rounds, which is a scale of 5, at a delay of up to 400 us, in each of two tries.
@pytest.mark.parametrize("delay_us", [400, 800])
@pytest.mark.parametrize("turns", [1, 2])
def test_close_while_joining(helper, turns, delay_us):
    result = run([built("chaos/close_race"), scaled(300), delay_us], auto(turns), helper.socket, timeout=60)
    assert median(result["us"]) <= 5000, sorted(result["us"])
    wait_until(lambda: helper.totals()["pairs_armed"] == 0, 10, helper.explain)


# With the calls counted after the helper's answer 15 of 384 copies got a FIN.
@pytest.mark.parametrize("arm", [PLAIN, EAGER], ids=str)
def test_close_while_a_call_ends(helper, arm):
    """The helper counts the reference of another thread's call, which is over a moment later: a close with bytes unread resets even so."""
    case, ends = "close-unread-splicing-forked", collections.Counter()
    with helper.counting() as grown:
        for _ in range(ROUNDS):
            with contextlib.ExitStack() as copies:
                programs = [copies.enter_context(Program([built("conformance/semantics"), case], arm, helper.socket)) for _ in range(COPIES)]
                for program in programs:
                    assert program.wait(30) == 0, program.describe()
                    ends.update(line.split(" ", 2)[2] for line in program.out.splitlines() if line.startswith(f"{case} receive-next "))
    assert ends == {"-1 ECONNRESET": ROUNDS * COPIES}, ends
    assert (grown["redirected_bytes"] > 0) == arm.accelerated, grown
