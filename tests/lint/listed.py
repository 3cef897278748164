#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Every test and example is named in tests/list (or a suite's own list), and what is named there exists: a forgotten test looks like a passing one."""
import fnmatch
import os

from common import files, finish, text_of

LISTS = ("tests/list", "tests/suites/list")
MUST_BE_LISTED = ("tests/*/test_*", "examples/*.sh")


def main():
    lines = [line for name in LISTS for line in text_of(name).splitlines() if line and not line.startswith("#")]
    words = {word.replace("$SMACCEL_BUILD/", "") for line in lines for word in line.split()[4:]}
    complaints = []
    for name in files():
        if not any(fnmatch.fnmatch(name, pattern) for pattern in MUST_BE_LISTED) or name.endswith((".h", ".bpf.c")):
            continue
        if (name[:-2] if name.endswith(".c") else name) not in words:
            complaints.append(f"{name}: not in tests/list")
    for word in sorted(words):
        if word.startswith(("tests/", "examples/")) and not (os.path.exists(word) or os.path.exists(word + ".c")):
            complaints.append(f"tests/list: {word} does not exist")
    finish(complaints)


main()
