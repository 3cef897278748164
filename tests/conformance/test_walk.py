# SPDX-License-Identifier: BSD-2-Clause
"""Random walks (walk.c): every call returns the same on plain TCP and accelerated, whichever calls came before.

All are made again if one differs, which may be the machine's doing; such a walk is made alone as well, several times, only to say how often it differs.

  python3 tests/conformance/test_walk.py [FIRST COUNT [VARIANT...]]     prints the differences of that many walks
"""
import contextlib
import functools
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.helper import Helper  # noqa: E402
from support.program import EAGER, PLAIN, Arm, Program, auto, built  # noqa: E402
from support.proof import assert_none_again, proved  # noqa: E402

WALKS = 56
HELPER_PRIORITY, HELPER_NICE = 1, -15
SIDE_BY_SIDE = 3  # processes
REPEATS = 4
# name: arm, the helper's options, the program's
VARIANTS = {"eager": (EAGER, [], ["split=0"]), "eager-split": (EAGER, [], ["split=1"]), "auto-split": (auto(1), [], ["split=1"]),
            "auto": (auto(1), [], ["split=0"]), "mixed": (EAGER, ["--test-bound", 8], ["split=0"]),
            "mixed-split": (EAGER, ["--test-bound", 3000], ["split=1"]),
            "signals": (EAGER, [], ["split=1", "signals=300"]),
            "spin": (Arm("spin", 1, {"SMACCEL_SPIN_US": "100"}), [], ["split=1"])}


def walks(first, count, options, arm=PLAIN, socket=None):
    """{seed: [lines]}; made by several processes side by side, which mostly wait."""
    found = {seed: [] for seed in range(first, first + count)}
    parts = [(first + count * i // SIDE_BY_SIDE, first + count * (i + 1) // SIDE_BY_SIDE) for i in range(SIDE_BY_SIDE)]
    with contextlib.ExitStack() as stack:
        programs = [(begin, end, stack.enter_context(Program(
            [built("conformance/walk"), f"first={begin}", f"count={end - begin}", *options], arm, socket)))
            for begin, end in parts if end > begin]
        for begin, end, program in programs:
            status = program.wait(60)
            for line in program.out.splitlines():
                seed, rest = line.split(" ", 1)
                found[int(seed)].append(rest)
            if status:
                for seed in range(begin, end):
                    found[seed].append(f"ended with {status}: {program.err[-200:]}")
    return found


@functools.lru_cache
def plain_walks(first, count, options):
    return walks(first, count, options)


def first_difference(plain, here):
    at = next((i for i, pair in enumerate(zip(plain, here)) if pair[0] != pair[1]), min(len(plain), len(here)))
    before = "".join(f"    {line}\n" for line in plain[max(0, at - 12):at])
    return f"{before}  - {(plain[at:] or ['(the end)'])[0]}\n  + {(here[at:] or ['(the end)'])[0]}"


def others_alone(seed, plain, options, arm=PLAIN, socket=None):
    return sum(walks(seed, 1, options, arm, socket)[seed] != plain for _ in range(REPEATS))


def let_run(helper):
    """As in test_semantics.py: what is compared is what applications see of a helper that gets a CPU. Niceness means nothing between the
    autogroups of two sessions."""
    try:
        os.sched_setscheduler(helper.pid, os.SCHED_FIFO, os.sched_param(HELPER_PRIORITY))
    except PermissionError:  # no real time in this control group
        os.setpriority(os.PRIO_PROCESS, helper.pid, HELPER_NICE)


def differences(name, first, count):
    """(what differs, counters)"""
    arm, helper_options, options = VARIANTS[name]
    plain = plain_walks(first, count, tuple(options))
    with Helper(*helper_options) as helper:
        let_run(helper)
        with helper.counting() as grown:
            here = walks(first, count, options, arm, helper.socket)
        found = [f"walk {seed}; made {REPEATS} times alone, {others_alone(seed, lines, options)} differ on plain TCP, "
                 f"{others_alone(seed, lines, options, arm, helper.socket)} accelerated:\n{first_difference(lines, here[seed])}"
                 for seed, lines in plain.items() if lines != here[seed]]
    return found, grown


@pytest.mark.parametrize("name", VARIANTS)
def test_walks_are_the_same(name, record_property):
    grown = {}

    def look():
        found, counted = differences(name, 1, WALKS)
        grown.update(counted)
        return found

    assert_none_again(record_property, look)
    proved(grown["pairs_armed_total"] > 0.4 * WALKS, grown)
    proved(grown["redirected_msgs"] > WALKS, grown)


def main(arguments):
    first, count = (int(word) for word in (arguments[:2] or ("1", str(WALKS))))
    for name in arguments[2:] or VARIANTS:
        found, grown = differences(name, first, count)
        print(f"== {name}: {len(found)} of {count} walks; {grown['pairs_armed_total']} armed, {grown['redirected_bytes']} B redirected")
        print("\n".join(found[:6]))


if __name__ == "__main__":
    main(sys.argv[1:])
