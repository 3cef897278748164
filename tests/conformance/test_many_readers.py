# SPDX-License-Identifier: BSD-2-Clause
"""Many readers asleep on one connection (fact 3): a passed message wakes them all, and none may then sleep where the
redirected messages that follow do not wake it."""
import pytest

from support.helper import Helper
from support.program import EAGER, PLAIN, auto, built, run
from support.proof import proved

ROUNDS = 400
MIXED_BOUND = 8  # the first message of a round is longer and passed, the others are redirected
ASLEEP = 0.5     # of the rounds must have had all readers asleep, or nothing was shown


@pytest.mark.parametrize("readers", [2, 8])
@pytest.mark.parametrize("arm", [PLAIN, EAGER, auto(1)], ids=str)
def test_no_reader_is_stranded(arm, readers):
    with Helper("--test-bound", MIXED_BOUND) as helper:
        with helper.counting() as grown:
            result = run([built("conformance/many_readers"), f"rounds={ROUNDS}", f"readers={readers}", "deadline=60"], arm,
                         helper.socket, timeout=70)
    assert result["rounds"] == ROUNDS and result["asleep"] >= ASLEEP * ROUNDS, result
    if arm.accelerated:  # most rounds: one first message passed, the others redirected
        proved(grown["redirected_msgs"] >= ROUNDS * (readers - 1) / 2, grown)
        proved(grown["passed_msgs"] >= ROUNDS / 2, grown)
    else:
        assert grown["sockets_joined"] == 0


WORDS = 200_000


@pytest.mark.parametrize("how, processes, spliced", [("ss", 0, 0), ("ss", 1, 0), ("sr", 0, 0), ("sr", 1, 0), ("ff", 0, 0), ("ff", 1, 0),
                                                     ("sh", 0, 0), ("sh", 0, 1)])
@pytest.mark.parametrize("arm", [PLAIN, EAGER, auto(1)], ids=str)
def test_two_takers_of_which_one_splices_get_each_byte_once(helper, arm, how, processes, spliced):
    """Where what a splice had peeked at was another's to take, too, numbers were lost and came twice in each run."""
    with helper.counting() as grown:
        result = run([built("conformance/takers"), how, f"words={WORDS}", f"processes={processes}", f"spliced={spliced}"], arm,
                     helper.socket, timeout=70)
    assert (result["lost"], result["again"]) == (0, 0), (result, grown)
    if arm.accelerated:
        proved(grown["redirected_bytes"] > 50_000, grown)


SHARED_ROUNDS = 300


@pytest.mark.parametrize("named", [0, 1], ids=["pipe", "fifo"])
@pytest.mark.parametrize("arm", [PLAIN, EAGER, auto(1)], ids=str)
def test_a_splice_that_waits_for_room_can_be_interrupted(helper, arm, named):
    """Where what the pipe was found to have room for was written with a wait, and no signal let in, one was stuck in the first rounds."""
    with helper.counting() as grown:
        result = run([built("conformance/shared_pipe"), f"rounds={SHARED_ROUNDS}", f"named={named}"], arm, helper.socket, timeout=70)
    assert result["interrupted"] >= SHARED_ROUNDS / 2, result
    if arm.accelerated:
        proved(grown["redirected_bytes"] > 100_000, grown)
