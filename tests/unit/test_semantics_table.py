# SPDX-License-Identifier: BSD-2-Clause
"""helper/cli/semantics.def, `smaccel semantics` and the man page say what the differential suite has cases for; and the man page has every reason
of helper/wire/reason.def that is given.

  python3 tests/unit/test_semantics_table.py --update     writes the tables into the man page
"""
import fnmatch
import json
import os
import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("SMACCEL_BUILD", TOP / "build"))
MAN_PAGE = TOP / "helper/man/smaccel.1"
DIFFERENCES = TOP / "tests/conformance/semantics/differences"
REASONS = TOP / "helper/wire/reason.def"
REASON = re.compile(r'^REASON\((\w+), "(.*?)", (?:"(.*)"|REASON_RESERVED)\)$', re.MULTILINE)
KINDS = {"native", "repaired", "leaves first", "pinned", "never joins", "differs"}


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout


def table():
    return json.loads(output(BUILD / "smaccel", "semantics", "--json"))


def cases():
    return [line.split()[0] for line in output(BUILD / "tests/conformance/semantics", "--list").splitlines()]


def differing():
    """The patterns of cases in the list of differences."""
    return {line.split()[0] for line in DIFFERENCES.read_text().splitlines() if line.strip() and not line.startswith("#")}


def matching(patterns, names):
    return {name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)}


def man_rows(rows):
    lines = [".TS", "lw(56n) l."]
    for row in rows:
        how = f" ({row['how']})" if row["how"] else ""
        lines += ["T{", (row["behaviour"] + how).replace("-", "\\-"), "T}\t" + row["kept"]]
    return lines + [".TE"]


def reason_rows():
    lines = [".TS", "lw(17n) lw(50n)."]
    for name, text in [(name, text) for _, name, text in REASON.findall(REASONS.read_text()) if text]:
        lines += ["T{", name.replace("-", "\\-"), "T}\tT{", text.replace("-", "\\-"), "T}"]
    return lines + [".TE"]


def man_page_parts(what):
    """What is before a table, the table, and the rest."""
    lines = MAN_PAGE.read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith(f'.\\" begin {what}'))
    end = next(i for i, line in enumerate(lines) if line.startswith(f'.\\" end {what}'))
    return lines[:begin + 1], lines[begin + 1:end], lines[end:]


def test_each_row_is_whole():
    rows = table()
    assert len(rows) >= 40
    assert {row["kept"] for row in rows} == KINDS
    assert all(row["area"] and row["behaviour"] and row["cases"] for row in rows)
    assert len({row["behaviour"] for row in rows}) == len(rows)


def test_each_pattern_has_cases():
    names = cases()
    without = [(row["behaviour"], pattern) for row in table() for pattern in row["cases"].split()
               if not matching([pattern], names)]
    assert not without


def test_each_case_is_of_a_behaviour():
    names = cases()
    patterns = [pattern for row in table() for pattern in row["cases"].split()]
    assert len(names) >= 150
    assert not set(names) - matching(patterns, names)


def test_what_differs_is_what_the_suite_lists():
    names = cases()
    rows = [row for row in table() if row["kept"] == "differs"]
    claimed = matching([pattern for row in rows for pattern in row["cases"].split()], names)
    listed = matching(differing(), names)
    assert not listed - claimed, "listed as differences, but not in the table"
    for row in rows:
        assert matching(row["cases"].split(), names) & listed, f"nothing in the list: {row['behaviour']}"
    assert not [pattern for pattern in differing() if not matching([pattern], names)], "differences of cases that do not exist"


def test_the_text_has_every_row():
    text = output(BUILD / "smaccel", "semantics")
    assert not [row["behaviour"] for row in table() if row["behaviour"] not in text]
    assert all(f"\n{kind} " in text for kind in KINDS)


def test_man_page_has_the_same_table():
    assert man_page_parts("semantics")[1] == man_rows(table()), "run tests/unit/test_semantics_table.py --update"


def test_man_page_has_every_reason():
    assert reason_rows().count("T{") >= 40
    assert REASONS.read_text().count("\nREASON(") == len(REASON.findall(REASONS.read_text())), "lines of another form"
    assert man_page_parts("reasons")[1] == reason_rows(), "run tests/unit/test_semantics_table.py --update"


def test_the_reasons_that_are_given_are_those_of_the_man_page():
    sources = "".join(path.read_text() for folder in ("preload", "helper") for path in sorted((TOP / folder).rglob("*.[ch]")))
    words = set(re.findall(r"\bREASON_\w+", sources))
    for identifier, name, text in REASON.findall(REASONS.read_text()):
        assert (identifier in words) == bool(text), name


def main(arguments):
    if arguments != ["--update"]:
        raise SystemExit(__doc__)
    for what, rows in (("semantics", man_rows(table())), ("reasons", reason_rows())):
        before, _, after = man_page_parts(what)
        MAN_PAGE.write_text("\n".join(before + rows + after) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
