# SPDX-License-Identifier: BSD-2-Clause
"""Nobody can tell: every case of tests/conformance/semantics notes the same on plain TCP and on accelerated connections.

The arms: plain TCP, auto, eager, eager with SMACCEL_SPIN_US in processes that have threads, and mixed: over IPv6, eager with a bound
of a few bytes, so that redirected and passed bytes follow each other all the time, by a library that traps undefined behaviour. And the same program made with musl-gcc, eager. A field that differs fails, unless the file
`differences` lists it with a reason.

  python3 tests/conformance/test_semantics.py [ARM...] [-- CASE|FAMILY...]     prints the differences
"""
import collections
import fnmatch
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from conformance.semantics_rows import contradictions, never_joining, unproved  # noqa: E402
from support.helper import Helper  # noqa: E402
from support.program import BUILD, EAGER, PLAIN, Arm, Program, auto, built  # noqa: E402
from support.proof import proved  # noqa: E402
from support.scale import SCALE  # noqa: E402

JOBS = 40  # they mostly wait
DEADLINE_MS = 15_000  # of a case
MUSL_DEADLINE_MS = 5000  # where some do not end
MIXED_BOUND = 8  # bytes: a word is redirected, what follows it is not
PLAIN_RUNS = [["--ipv6", "--threads"]]  # beside the first
HELPER_NICE = -15
RELEASED_S = 10  # until the helper has noticed the end of the last socket, and so has told of its pair
Arm_run = collections.namedtuple("Arm_run", "notes grown log")
ARMS = {"auto": (auto(1), []), "eager": (EAGER, []),
        "spin": (Arm("spin", "eager", {"SMACCEL_SPIN_US": "500"}), []),
        "mixed": (Arm("mixed", "eager", shim="tests/trapping/libsmaccel.so"), ["--test-bound", MIXED_BOUND])}
# In eager arms both ends have joined before a case can fork.
WATCHED_ARMS = {"watched": (auto(1_000_000), [])}
PART_OF = {"again": 3, "spin": 0, "mixed": 1, "watched": 1, "stream": 2, "leave": 3, "ends-first": 1}  # the cases with that number modulo PARTS, at a scale of less than 3
PARTS = 4
MUSL_PARTS = 3
LATE_ARMS = {"split": (auto(1), ["--test-bound", MIXED_BOUND])}
LATE_CASES = ["forked-early-3", "forked-early-7", "forked-before-3", "forked-before-7"]
OPTIONS = {"spin": ["--threads"], "mixed": ["--ipv6"]}  # of the program: nothing that cases note depends on them
# Where pairs may be of AF_UNIX, and then end in time.
UNIX_FAMILIES = ["blocking", "flags", "epolls", "polls", "waits", "faults", "closing", "threads", "escapes", "stdios"]
# Where peers reset, or close with bytes unread.
RESET_FAMILIES = ["blocking", "polls", "epolls", "waits", "vectors", "resets", "closing", "sends", "pieces", "pipes", "odds", "unread", "inqs"]
# The error stays behind a FIN, so that epoll lacks it longer. In the other case it is the end that sleeps which is shut down: how much went in.
ENDED_OWN = [("poll-send-cut-short*", "epoll-after", ""), ("send-full-fd-closed", "drained", "")]
# What musl's own functions do: its sendmmsg is several sendmsg, and finds the number closed between two of them where the wrapper still has
# the file; its AIO has threads. errno tells of what they tried. A send that has sent something is not cancelled there, but the wrapper's next call is.
MUSL_OWN = [("sendmmsg", "errno", ""), ("held-many*", "*", ""), ("aio", "errno", ""), ("cancel-send", "thread", "")]
MUSL = [built("conformance/semantics-musl")]
MUSL_LIBRARIES = {"the-library": (BUILD / "libsmaccel.so", UNIX_FAMILIES),
                  "made-with-musl-gcc": (BUILD / "musl" / "libsmaccel.so", ["--all"])}
DIFFERENCES = Path(__file__).resolve().parent / "semantics" / "differences"
# What says how a case ran, and is not compared.
RUN_FIELDS = {"armed", "pid", "made"}
TURNS_TO_PROVE = 3  # for a row's cases that were over before their ends had joined
FEWEST_ARMED = 0.95  # of the cases with a pair
# A case that is late on a busy machine notes something else now and then, in any arm. What differs is looked for so often again, in the
# same arm, with others beside it; what never comes again is a remark. At a scale of 3 and more it has failed at once.
TURNS_TO_RECUR = 0 if SCALE >= 3 else 5
BESIDE = 24  # cases


def parse(text):
    """{case: {field: [values in order]}}. Fields of different threads may come in any order, so they are apart."""
    notes = {}
    for line in text.splitlines():
        case, field, value = (line.split(" ", 2) + ["", ""])[:3]
        notes.setdefault(case, {}).setdefault(field, []).append(value)
    return notes


def run_cases(arm, socket=None, cases=("--all",), program=(built("conformance/semantics"),), deadline_ms=DEADLINE_MS):
    """cases: of the program's arguments, options too."""
    with Program([*program, *cases, "--jobs", JOBS, "--deadline", deadline_ms, "--pids"], arm, socket) as run:
        assert run.wait(120) == 0, run.describe()
        return parse(run.out)


def run_arm(name, cases=("--all",), **program):
    arm, options = {**ARMS, **LATE_ARMS, **WATCHED_ARMS}[name]
    with Helper(*options, "--verbose") as helper:
        # What is compared is what applications see of a helper that gets a CPU; tests/chaos is about those that do not.
        os.setpriority(os.PRIO_PROCESS, helper.process.pid, HELPER_NICE)
        with helper.counting() as grown:
            notes = run_cases(arm, helper.socket, [*cases, *OPTIONS.get(name, [])], **program)
            deadline = time.monotonic() + RELEASED_S
            while helper.totals()["sockets_joined_now"] and time.monotonic() < deadline:
                time.sleep(0.02)
        return Arm_run(notes, grown, helper.log)


def whole_or_part(name, families=("--all",)):
    """The arguments for the cases of that name in PART_OF."""
    if SCALE >= 3 or name not in PART_OF:
        return families
    listed = subprocess.run([built("conformance/semantics"), "--list"], check=True, timeout=10, capture_output=True, text=True).stdout
    return [case for case, family in map(str.split, listed.splitlines()) if family in families or "--all" in families][PART_OF[name]::PARTS]


def read_differences():
    """(case pattern, field pattern, reason)"""
    lines = DIFFERENCES.read_text().splitlines() if DIFFERENCES.exists() else []
    return [line.split(None, 2) for line in lines if line.strip() and not line.startswith("#")]


def is_listed(case, field, listed):
    return any(fnmatch.fnmatch(case, c) and fnmatch.fnmatch(field, f) for c, f, _ in listed)


def compare(plain, other):
    """(case, field, value on plain TCP, value here) for each field that differs."""
    for case, fields in plain.items():
        here = other.get(case, {})
        for field in list(fields) + [f for f in here if f not in fields]:
            if field not in RUN_FIELDS and fields.get(field) != here.get(field):
                yield case, field, " | ".join(fields.get(field, ["-"])), " | ".join(here.get(field, ["-"]))


def differences(plain, notes, listed=(), options=(), **program):
    """What differs and is not listed. On a busy machine a case over plain TCP may be the one that was late: what it notes in a second run counts
    as well. options: of the program, beside the cases."""
    rows = [row for row in compare(plain, notes) if not is_listed(row[0], row[1], listed)]
    if rows:
        cases = sorted({row[0] for row in rows})
        again = run_cases(PLAIN, None, [*cases, *options], **program)
        still = {row[:2] for row in compare({case: again.get(case, {}) for case in cases}, notes)}
        rows = [row for row in rows if row[:2] in still]
    return rows


def recurring(rows, plain, name, options=(), **program):
    """Those of `rows` that differ again, and the remark on those that do not."""
    cases = sorted({row[0] for row in rows})
    beside = [case for case in plain if case not in cases][::max(1, len(plain) // BESIDE)]
    again = set()
    for _ in range(TURNS_TO_RECUR if rows else 0):
        notes = run_arm(name, [*cases, *beside, *options], **program).notes
        again |= {row[:2] for row in compare({case: plain[case] for case in cases}, notes)}
    once = [row for row in rows if TURNS_TO_RECUR and row[:2] not in again]
    remark = f"differed once, not in {TURNS_TO_RECUR} more turns: " + " ".join(table(once).split()) if once else ""
    return [row for row in rows if row not in once], remark


def assert_alike(record_property, name, plain, run, listed=(), options=()):
    rows, remark = recurring(differences(plain, run.notes, listed, options), plain, name, options)
    if remark:
        record_property("remark", remark)
    assert not rows, f"{len(rows)} differences in {len({r[0] for r in rows})} cases\n{table(rows)}"


def table(rows):
    return "\n".join(f"{case:32} {field:20} {there!r} -> {here!r}" for case, field, there, here in rows)


@pytest.fixture(scope="module")
def plain():
    return run_cases(PLAIN)


def test_plain_tcp_is_deterministic(plain):
    """What differs between two runs over plain TCP is no measure: such a field must not be noted. Nor what depends on how it is run."""
    assert len(plain) >= 150
    ends = {case: fields["END"][0] for case, fields in plain.items() if fields["END"] != ["done"]}
    assert not ends, f"cases that do not end over plain TCP: {ends}"
    for options in PLAIN_RUNS:
        again = run_cases(PLAIN, None, [*whole_or_part("again"), *options])
        rows = [row for row in compare({case: plain[case] for case in again}, again) if not is_listed(row[0], row[1], read_differences())]
        assert not rows, table(rows)


def test_io_uring_was_there(plain):
    """The cases that use it note so where a kernel has none or forbids it."""
    without = [case for case, fields in plain.items() if "io_uring" in fields]
    if without:
        pytest.skip(f"no io_uring here: {len(without)} cases did nothing")


@pytest.mark.parametrize("name", ARMS)
def test_no_difference_from_plain_tcp(plain, name, record_property):
    run = run_arm(name, whole_or_part(name))
    assert len(run.notes) >= len(plain) // PARTS
    never = never_joining(run.notes)
    armed = [fields["armed"] == ["yes"] for case, fields in run.notes.items() if "armed" in fields and case not in never]
    joined = [case for case in never if run.notes[case].get("armed", ["no"]) != ["no"]]
    assert never and not joined, f"joined, but were never to: {joined}"
    assert_alike(record_property, name, {case: plain[case] for case in run.notes}, run, read_differences())
    proved(run.grown["redirected_bytes"] > 0 and run.grown["pairs_armed_total"] > 0, run.grown)
    made = [set(fields["made"]) == {"1"} for fields in run.notes.values() if "made" in fields]  # several pairs, all redirecting
    assert not made or any(made), "no case with several pairs had all of them accelerated"
    if name == "spin":
        proved(run.grown["spins"] > run.grown["spin_hits"] > 0, run.grown)
    assert sum(armed) >= FEWEST_ARMED * len(armed), f"only {sum(armed)} of {len(armed)} cases were accelerated"
    if len(run.notes) < len(plain):
        return
    lines = contradictions(run.notes, run.log)
    assert not lines, "not what `smaccel semantics` says:\n" + "\n".join(lines)
    for _ in range(TURNS_TO_PROVE):
        cases = unproved(run.notes)
        run.notes.update(run_arm(name, sorted(cases)).notes if cases else {})
    assert not unproved(run.notes), f"the rows of these cases say that they are accelerated, but none was: {unproved(run.notes)}"


def test_an_end_that_is_only_spliced_from_is_accelerated():
    """Its case makes its own connection, which the others do not prove anything of: two ways of 100 words of 64 bytes."""
    cases = ["splice-from-first", "splice-from-first-sendfile"]
    run = run_arm("auto", cases)
    assert all(run.notes[case]["good"] == ["100"] for case in cases), run.notes
    proved(run.grown["redirected_bytes"] > 0.8 * 2 * 2 * 100 * 64, run.grown)


def test_no_difference_of_ends_that_are_only_watched(plain, record_property):
    """For none of them it has paid so far."""
    run = run_arm("watched", whole_or_part("watched"))
    assert_alike(record_property, "watched", {case: plain[case] for case in run.notes}, run)
    assert run.grown["sockets_joined"] == run.grown["redirected_bytes"] == 0, run.grown


def test_no_difference_of_ends_that_stream(record_property):
    """They have gone back to plain TCP for as long as it does not pay, and may come again in the middle of a case."""
    cases = [*whole_or_part("stream"), "--stream"]
    run = run_arm("auto", cases)
    assert_alike(record_property, "auto", run_cases(PLAIN, None, cases), run, read_differences(), ["--stream"])
    armed = [fields["armed"] == ["yes"] for fields in run.notes.values() if "armed" in fields]
    proved(run.grown["leaves"] >= 0.9 * sum(armed) > 100, run.grown)


def test_no_difference_of_ends_that_have_left(record_property):
    """The cases get pairs that were joined and have gone back to plain TCP: the wrappers must not be wiser than the kernel then."""
    cases = [*whole_or_part("leave"), "--leave"]
    run = run_arm("eager", cases)
    assert_alike(record_property, "eager", run_cases(PLAIN, None, cases), run, read_differences(), ["--leave"])
    armed = [fields["armed"] == ["yes"] for fields in run.notes.values() if "armed" in fields]
    proved(run.grown["leaves"] >= 0.9 * sum(armed) > 100, run.grown)


def test_no_difference_of_who_forks_before_joining(record_property):
    """The end that two processes have does not join: the other one would not know of it."""
    run = run_arm("split", LATE_CASES)
    assert_alike(record_property, "split", run_cases(PLAIN, None, LATE_CASES), run)
    assert run.grown["pairs_armed_total"] == run.grown["redirected_bytes"] == 0, run.grown
    proved(run.grown["sockets_joined"] > 0, run.grown)  # the others


def test_no_difference_of_peers_that_end_before_they_reset(record_property):
    """A FIN, and then a reset: TCP says EPIPE, and the end of the stream, where it says ECONNRESET of a reset alone."""
    cases = [*whole_or_part("ends-first", RESET_FAMILIES), "--ends-first"]
    run = run_arm("eager", cases)
    assert_alike(record_property, "eager", run_cases(PLAIN, None, cases), run, [*read_differences(), *ENDED_OWN], ["--ends-first"])
    proved(run.grown["redirected_bytes"] > 0 and run.grown["pairs_armed_total"] > len(run.notes) // 2, run.grown)


def test_no_difference_of_unix_sockets(record_property):
    """Which the shim leaves alone: its wrappers, and its handlers before the application's, are in the way of all sockets."""
    cases = [*UNIX_FAMILIES, "--unix"]
    assert_alike(record_property, "eager", run_cases(PLAIN, None, cases), run_arm("eager", cases), options=["--unix"])


@pytest.fixture(scope="module")
def plain_musl():
    """musl looks into headers of messages itself, and is ended by a bad address; and its splice is not cancelled: such cases tell nothing."""
    listed = subprocess.run([*MUSL, "--list"], check=True, timeout=10, capture_output=True, text=True).stdout
    cases = [line.split()[0] for line in listed.splitlines()][::1 if SCALE >= 3 else MUSL_PARTS]
    notes = run_cases(PLAIN, cases=cases, program=MUSL, deadline_ms=MUSL_DEADLINE_MS)
    return {case: fields for case, fields in notes.items() if fields["END"] == ["done"]}


@pytest.mark.parametrize("library", MUSL_LIBRARIES)
def test_no_difference_of_musl_programs(plain_musl, library, record_property):
    """The program is built with musl-gcc; the library that glibc programs get is asked in fewer cases."""
    path, families = MUSL_LIBRARIES[library]
    listed = subprocess.run([*MUSL, "--list"], check=True, timeout=10, capture_output=True, text=True).stdout
    cases = [case for case, family in map(str.split, listed.splitlines()) if case in plain_musl and (family in families or "--all" in families)]
    cases = cases[::PARTS] if SCALE < 3 and library == "the-library" else cases
    shimmed = ["env", f"LD_PRELOAD={path}", *MUSL]
    run = run_arm("eager", cases, program=shimmed)
    plain = {case: fields for case, fields in plain_musl.items() if case in run.notes}
    rows = differences(plain, run.notes, [*read_differences(), *MUSL_OWN], program=MUSL, deadline_ms=MUSL_DEADLINE_MS)
    rows, remark = recurring(rows, plain, "eager", program=shimmed)
    if remark:
        record_property("remark", remark)
    assert not rows, f"{len(rows)} differences in {len({r[0] for r in rows})} cases\n{table(rows)}"
    never = never_joining(run.notes)
    armed = [fields["armed"] == ["yes"] for case, fields in run.notes.items() if "armed" in fields and case not in never]
    assert len(plain) >= 200 // (MUSL_PARTS if library == "made-with-musl-gcc" else MUSL_PARTS * PARTS) and sum(armed) >= FEWEST_ARMED * len(armed), f"only {sum(armed)} of {len(armed)} cases were accelerated"


def main(arguments):
    cases = arguments[arguments.index("--") + 1:] if "--" in arguments else []
    names = (arguments[:arguments.index("--")] if cases else arguments) or list(ARMS)
    reference = run_cases(PLAIN, None, cases or ("--all",))
    for name in names:
        run = run_arm(name, cases or ("--all",))
        rows = list(compare(reference, run.notes))
        armed = [fields["armed"] == ["yes"] for fields in run.notes.values() if "armed" in fields]
        print(f"== {name}: {len(rows)} fields in {len({r[0] for r in rows})} of {len(run.notes)} cases; armed {sum(armed)} of "
              f"{len(armed)}; redirected {run.grown['redirected_bytes']} B, spills {run.grown['spills']}")
        print(table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
