# SPDX-License-Identifier: BSD-2-Clause
"""Random walks (conformance/walk.c) while the helper is killed, stopped, late, switched off: every call returns what it returns on plain TCP.

Left out where the helper does not answer: processes that fork once they have a connection, for who else holds a socket only it can say, and
urgent sends, for which an end has to leave.

  python3 tests/chaos/test_walks.py [FIRST COUNT [WHAT...]]     prints the differences of that many walks
"""
import contextlib
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "conformance"))

from support.helper import Helper, stuck  # noqa: E402
from support.program import BUILD  # noqa: E402
from support.proof import assert_none_again, proved  # noqa: E402
from test_walk import VARIANTS, first_difference, let_run, plain_walks, walks  # noqa: E402

WALKS = 32
QUIET_S = (0.02, 0.25)  # between two disturbances
STOPPED_S = (0.005, 0.3)


def killed(helper, chance):
    helper.kill()
    time.sleep(chance.choice((0, 0.02, 0.1)))
    helper.start()
    let_run(helper)


def ended(helper, chance):
    helper.stop()
    helper.start()
    let_run(helper)


def stopped(helper, chance):
    helper.signal(signal.SIGSTOP)
    time.sleep(chance.uniform(*STOPPED_S))
    helper.signal(signal.SIGCONT)


def late(helper, chance):
    """With fds in its hands."""
    with stuck(helper, 70):
        time.sleep(chance.uniform(*STOPPED_S))


def switched_off(helper, chance):
    for command in ("off", "on"):
        subprocess.run([str(BUILD / "smaccel"), command], env={"SMACCEL_SOCKET": str(helper.socket)}, timeout=10, check=True,
                       capture_output=True)
        time.sleep(chance.uniform(0, 0.05))


# what: (what is done, whether the helper answers all the time)
DISTURBANCES = {"killed": (killed, False), "ended": (ended, False), "stopped": (stopped, False), "late": (late, False), "switched-off": (switched_off, True)}


@contextlib.contextmanager
def disturbed(helper, disturb, seed):
    """Again and again until the end; afterwards grown["times"], how often, and grown["redirected_msgs"]: they end with the helper that
    counts them."""
    chance, over, grown, errors = random.Random(seed), threading.Event(), {"times": 0, "redirected_msgs": 0}, []

    def run():
        try:
            while not over.wait(chance.uniform(*QUIET_S)):
                grown["redirected_msgs"] = max(grown["redirected_msgs"], helper.totals()["redirected_msgs"])
                disturb(helper, chance)
                grown["times"] += 1
        except Exception as error:  # told by the thread that waits
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield grown
    finally:
        over.set()
        thread.join()
    if errors:
        raise errors[0]
    grown["redirected_msgs"] = max(grown["redirected_msgs"], helper.totals()["redirected_msgs"])


def differences(what, name, first, count):
    """(what differs, counters)"""
    disturb, answers = DISTURBANCES[what]
    arm, helper_options, options = VARIANTS[name]
    options = [*options, f"forks={int(answers)}", f"urgent={int(answers)}"]
    plain = plain_walks(first, count, tuple(options))
    with Helper(*helper_options) as helper:
        let_run(helper)
        with disturbed(helper, disturb, first) as grown:
            here = walks(first, count, options, arm, helper.socket)
    return [f"walk {seed}:\n{first_difference(lines, here[seed])}" for seed, lines in plain.items() if lines != here[seed]], grown


@pytest.mark.parametrize("name", ["eager-split", "mixed-split"])
@pytest.mark.parametrize("what", DISTURBANCES)
def test_walks_are_the_same(what, name, record_property):
    grown = {}

    def look():
        found, counted = differences(what, name, 1, WALKS)
        grown.update(counted)
        return found

    assert_none_again(record_property, look)
    proved(grown["times"] > 0 and grown["redirected_msgs"] > 0, grown)


def main(arguments):
    first, count = (int(word) for word in (arguments[:2] or ("1", str(WALKS))))
    for what in arguments[2:] or DISTURBANCES:
        for name in VARIANTS:
            found, grown = differences(what, name, first, count)
            print(f"== {what}, {name}: {len(found)} of {count} walks; {grown}", flush=True)
            print("\n".join(found[:6]))


if __name__ == "__main__":
    main(sys.argv[1:])
