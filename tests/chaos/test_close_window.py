# SPDX-License-Identifier: BSD-2-Clause
"""A message that meets the close of the other end is answered by a reset, as TCP answers it, however long it is under way."""
import json
import subprocess

import pytest
from support.program import EAGER, PLAIN, auto, built, run
from support.proof import proved

HOLD_US = 4000  # between the verdict and the receiver's queue
ROUNDS = 100


@pytest.fixture
def slow_landing():
    process = subprocess.Popen([built("chaos/slow_landing"), str(HOLD_US)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def end():
        out, _ = process.communicate(timeout=10)
        return json.loads(out)["held"]
    try:
        assert process.stdout.readline() == "ready\n"
        yield end
    finally:
        process.kill()
        process.wait()


# A look of 1 ms and no more: 60 of 100 were answered by FIN; and with an end that had not attached its ledger when it was closed, 16.
@pytest.mark.parametrize(("turns", "closed"), [(12, "accepted"), (12, "connected"), (0, "accepted"), (0, "connected")])
def test_message_has_passed_the_gate(helper, slow_landing, turns, closed):
    result = run([built("chaos/close_window"), ROUNDS, turns, HOLD_US // 10, closed], EAGER, helper.socket, timeout=100)
    assert slow_landing() >= ROUNDS // 2, result
    assert result["lost"] == 0, result


@pytest.mark.parametrize("forks", ["forks", "forks-late"])
def test_message_comes_between_the_look_and_the_close(helper, slow_landing, forks):
    """Of an end that joined after a fork, or before one, and that nobody else has: 31 to 42 of 100 were answered by FIN."""
    with helper.counting() as grown:
        result = run([built("chaos/close_window"), ROUNDS, 600, HOLD_US // 2, "accepted", forks], auto(1), helper.socket, timeout=100)
    assert slow_landing() >= ROUNDS, result
    proved(grown["pairs_armed_total"] >= ROUNDS // 10, grown)
    assert result["lost"] == 0, result


@pytest.mark.parametrize("arm", [PLAIN, EAGER], ids=str)
def test_message_comes_at_any_moment(helper, arm):
    rounds = 2500
    with helper.counting() as grown:
        result = run([built("chaos/close_window"), rounds, 12, 0, "accepted"], arm, helper.socket, timeout=100)
    assert result["lost"] == 0, result
    proved((grown["pairs_armed_total"] > rounds // 10) == arm.accelerated, grown)
