# SPDX-License-Identifier: BSD-2-Clause
"""Whether connections did what the rows of `smaccel semantics` say of them: as the helper counted, case by case.

With --verbose the helper's log tells of each pair that it pinned or took out, why, and how many bytes were redirected, and
names the processes of the pair's ends; with --pids the suite tells which process a case was.

  a case in a row      its connection                     in the helper's words
  native, repaired     stays as it is, bytes redirected   bytes were redirected; not pinned, did not leave
  leaves first         goes back to plain TCP             left, or was pinned (with bytes unread it cannot leave)
  pinned               the same                           the same
  never joins          is plain TCP all the time          no pair
  differs              either
Several rows may have the same case; it then does what one of them says. Leaving for the sake of speed says nothing. The reason that is
shown is the one that the case gives (REASONS).
"""
import collections
import fnmatch
import json
import re
import subprocess

from support.program import built

UNFORCED = {"spills", "small-writes", "blocked-reader"}
LEAVING = {"leaves first", "pinned"}
STAYING = {"native", "repaired"}
# Of the cases of all rows that leave: on a machine without a CPU to spare a leave may come too late. Then the pair stays pinned: of
# so many cases at least one has left.
FEWEST_LEAVING = 0.9
ENOUGH_TO_LEAVE = 3

# Why a case's connection leaves, is pinned or never joins, in the words of `smaccel ss`: patterns of cases, reasons.
REASONS = [("oob-*", {"oob"}), ("zerocopy-*", {"zerocopy"}), ("ulp-* blocked-then-ulp-set", {"ulp"}),
           ("lowat* edge-leaves-mark *rcvlowat-3* *rcvlowat-unread early-rcvlowat*", {"rcvlowat"}), ("stdio-* blocked-then-fdopen", {"stdio"}),
           ("own-table*", {"fd-table"}), ("exec-cat*", {"exec", "stdio"}), ("pass-fd-* passed-*", {"passed-fd"}),
           ("repair* filter-* md5-* peek-off control-odd control-timestamp* connect-unspec* family-changed* option-timestamp* option-busy-poll* "
            "option-peek-off* timestamp-tx* early-timestamp* early-filter*", {"option"})]

Fate = collections.namedtuple("Fate", "left pinned redirected")


def read_fates(log):
    """{pid: Fate}"""
    left, pinned, redirected = collections.defaultdict(set), collections.defaultdict(set), collections.Counter()
    for one, other, what, reason in re.findall(r"of pids (\d+) (\d+): (left|pinned) \((\S+)\)", log):
        for pid in {one, other}:
            (left if what == "left" else pinned)[pid].add(reason)
    for one, other, count in re.findall(r"of pids (\d+) (\d+): redirected (\d+) bytes", log):
        for pid in {one, other}:
            redirected[pid] += int(count)
    pids = left.keys() | pinned.keys() | redirected.keys()
    return {pid: Fate(left[pid] - UNFORCED, pinned[pid] - UNFORCED, redirected[pid]) for pid in pids}


def read_refusals(log):
    """{pid: {reason}}"""
    refused = collections.defaultdict(set)
    for pid, reason in re.findall(r"pid (\d+) fd \d+: refused: (\S+)", log):
        refused[pid].add(reason)
    return refused


def wrong_reasons(notes, fate, log):
    """Of an option that was set early: a join that a machine without a CPU to spare was late with is refused nowhere."""
    refused, early, unseen = read_refusals(log), [], []
    for patterns, reasons in REASONS:
        for case in cases_of({"cases": patterns}, notes):
            shown = fate[case].left | fate[case].pinned
            if case.startswith("early-"):
                shown = refused[notes[case]["pid"][0]]
                early.append(case)
                unseen += [] if shown else [case]
            if shown and shown.isdisjoint(reasons):
                yield f"{case}: the reason is {', '.join(sorted(shown))}, not {' or '.join(sorted(reasons))}"
    if len(unseen) > (1 - FEWEST_LEAVING) * len(early):
        yield from (f"{case}: no reason is shown" for case in unseen)


def read_rows():
    return json.loads(subprocess.run([built("../smaccel"), "semantics", "--json"], check=True, capture_output=True).stdout)


def cases_of(row, notes):
    return [case for case in notes if any(fnmatch.fnmatch(case, pattern) for pattern in row["cases"].split())]


def never_joining(notes):
    return {case for row in read_rows() if row["kept"] == "never joins" for case in cases_of(row, notes)}


def unproved(notes):
    """The cases of rows that say that bytes are redirected, of which none had any. A short one may be over before its ends have joined."""
    found = set()
    for row in read_rows():
        cases = [case for case in cases_of(row, notes) if "armed" in notes[case]]
        if row["kept"] in STAYING and not any(notes[case]["armed"] == ["yes"] for case in cases):
            found.update(cases)
    return found


def contradictions(notes, log):
    """What does not agree, as lines."""
    rows, fates = read_rows(), read_fates(log)
    fate = {case: fates.get(fields["pid"][0], Fate(set(), set(), 0)) for case, fields in notes.items()}
    armed = {case for case, fields in notes.items() if fields.get("armed") == ["yes"]}
    went = {case for case in notes if fate[case].left or fate[case].pinned}
    kinds = collections.defaultdict(set)
    for row in rows:
        for case in cases_of(row, notes):
            kinds[case].add(row["kept"])

    lines = [f"{case}: redirected by TCP's counts, but not by the helper's" for case in armed if not fate[case].redirected]
    lines += [f"{case}: left or was pinned ({', '.join(fate[case].left | fate[case].pinned)}), but is in no such row"
              for case in went if not kinds[case] & (LEAVING | {"differs"})]
    lines += [f"{case}: never to join, but bytes were redirected"
              for case in notes if kinds[case] == {"never joins"} and fate[case].redirected]
    lines += wrong_reasons(notes, fate, log)
    must = [case for case in armed if kinds[case] & LEAVING and not kinds[case] - LEAVING - STAYING]
    missing = [case for case in must if case not in went]
    if len(missing) > (1 - FEWEST_LEAVING) * len(must):
        lines += [f"{case}: neither left nor was pinned" for case in missing]
    for row in rows:
        cases = cases_of(row, notes)
        enough = len(armed & set(cases)) >= ENOUGH_TO_LEAVE
        if row["kept"] == "leaves first" and not any(fate[case].left or (fate[case].pinned and not enough) for case in cases):
            lines.append(f"no case left: {row['behaviour']}")
        if row["kept"] == "pinned" and not any(fate[case].pinned for case in cases):
            lines.append(f"no case was pinned: {row['behaviour']}")
    return lines
