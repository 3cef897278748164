# SPDX-License-Identifier: BSD-2-Clause
"""Cases of the differential suite in processes that filter their system calls: each notes what it does over plain TCP, and no case makes a
system call of a kind that it does not make there.
"""
import collections
import re
import subprocess

from conformance.test_semantics import compare, is_listed, parse, read_differences, table
from support.program import EAGER, PLAIN, Program, built
from support.proof import assert_none_again, proved
from support.scale import SCALE

# Those that make calls of their own: forks and ends, and what is asked of /proc or of the helper. By hand all others were looked at, too
# (36 families, 53 s), but for io_uring's and musl's. A third of the cases at a scale of less than 3.
FAMILIES = ["forks", "processes", "exits", "closing", "escapes", "held", "stdios", "blocking", "timeouts", "changes", "stops"]
EVERY = 1 if SCALE >= 3 else 3
JOBS = 8
DEADLINE_MS = 20_000  # of a case, that is traced
TIMEOUT_S = 90
# What libc makes for itself, as memory and time have it, and what a case waits with.
NOT_TOLD = {"brk", "mmap", "munmap", "mprotect", "madvise", "getrandom", "rseq", "set_robust_list", "futex", "restart_syscall", "rt_sigreturn",
            "clock_nanosleep", "sched_yield", "exit"}
FORKED = re.compile(r"\b(fork|vfork|clone|clone3)\b")
GENERATIONS = 3


def cases():
    listed = subprocess.run([built("conformance/semantics"), "--list"], check=True, timeout=10, capture_output=True, text=True).stdout
    return [case for case, family in map(str.split, listed.splitlines()) if family in FAMILIES][::EVERY]


def run_filtered(arm, socket, path):
    argv = ["strace", "-f", "-qq", "-o", path, built("conformance/semantics"), *cases(), "--jobs", JOBS, "--deadline", DEADLINE_MS,
            "--pids", "--filtered"]
    with Program(argv, arm, socket) as program:
        assert program.wait(TIMEOUT_S) == 0, program.describe()
        return parse(program.out)


def traced(path):
    """(pid, name, text) of each line of a trace; the name of a call that is resumed is None."""
    for line in path.read_text(errors="replace").splitlines():
        pid, _, text = line.partition(" ")
        called = re.match(r"(<\.\.\. )?(\w+)", text.strip())
        if called:
            yield int(pid), None if called[1] else called[2], text


def cases_of_processes(path, notes):
    """{pid: case}, of threads and forked processes too."""
    case_of = {int(fields["pid"][0]): case for case, fields in notes.items()}
    made = [(pid, int(found[1])) for pid, _, text in traced(path) if FORKED.search(text) and (found := re.search(r" = (\d+)$", text))]
    for parent, child in made * GENERATIONS:  # a child's lines may come before that of its fork
        if parent in case_of:
            case_of.setdefault(child, case_of[parent])
    return case_of


def calls_behind_filter(path, notes):
    """{case: {names}}"""
    case_of = cases_of_processes(path, notes)
    filtered, calls = set(), collections.defaultdict(set)
    for pid, name, text in traced(path):
        case = case_of.get(pid)
        if case in filtered and name:
            calls[case].add(name)
        if case and name == "prctl" and "SECCOMP_MODE_FILTER" in text:
            filtered.add(case)
    return calls


def both(helper, tmp_path):
    """(notes, calls) over plain TCP, and of pairs that were armed until the filter came."""
    plain = run_filtered(PLAIN, None, tmp_path / "plain")
    with helper.counting() as grown:
        eager = run_filtered(EAGER, helper.socket, tmp_path / "eager")
    proved(grown["redirected_bytes"] > 0 and grown["pairs_armed_total"] >= 50 // EVERY, grown)
    return [(notes, calls_behind_filter(tmp_path / name, notes)) for name, notes in (("plain", plain), ("eager", eager))]


def test_cases_behind_a_filter(helper, tmp_path, record_property):
    listed = read_differences()
    calls = []

    def look():
        (plain, plain_calls), (eager, eager_calls) = both(helper, tmp_path)
        calls[:] = plain_calls, eager_calls
        return table([row for row in compare(plain, eager) if not is_listed(row[0], row[1], listed)]).splitlines()

    assert_none_again(record_property, look)
    plain_calls, eager_calls = calls
    assert len(plain_calls) >= 100 // EVERY and len(eager_calls) == len(plain_calls), (len(plain_calls), len(eager_calls))
    more = {case: names - plain_calls[case] - NOT_TOLD for case, names in eager_calls.items()}
    assert not any(more.values()), {case: names for case, names in more.items() if names}
