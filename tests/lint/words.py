#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Licence tags, words that must not be in the project (paths of one machine, hosts of package registries), loose ends of text."""
import re

from common import Exceptions, files, finish, text_of

TAG = "SPDX-License-Identifier: "
LICENCES = {"BSD-2-Clause", "(GPL-2.0-only OR BSD-2-Clause)"}
NEEDS_TAG = re.compile(r"\.(c|h|py|sh|mk|def|map|S)$|^(Makefile|tests/run|tests/deps|tests/lint/(run|files)|\.ci/run)$")
# Written in pieces, so that this file passes its own check.
FORBIDDEN = [
    (re.compile(r"(?:^|[^\w.])/(?:wo" r"rk|fa" r"rm|ho" r"me/\w+|ro" r"ot)/"), "a path of one machine"),
    (re.compile(r"deb\.deb" r"ian\.org|registry\.npm" r"js|pypi\.o" r"rg|proxy\.gol" r"ang|crates\.i" r"o\b"), "a package registry's host"),
    (re.compile(r"\bsub" r"agent|\bAI ass" r"istant", re.IGNORECASE), "how the work was done"),
]
PLAIN_TEXT = ("LICENSE.GPL-2.0",)


def licence_of(line):
    return line.split(TAG, 1)[1].replace("*/", "").strip() if TAG in line else None


def main():
    complaints = []
    exceptions = Exceptions("words")
    for name in files():
        text = text_of(name)
        if "\0" in text or name in PLAIN_TEXT:
            continue
        lines = text.splitlines()
        if NEEDS_TAG.search(name):
            head = lines[:2] if lines and lines[0].startswith("#!") else lines[:1]
            if not any(licence_of(line) in LICENCES for line in head):
                complaints.append(f"{name}:1: no licence tag ({' or '.join(sorted(LICENCES))})")
        for number, line in enumerate(lines, 1):
            for pattern, what in FORBIDDEN:
                found = pattern.search(line)
                if found and not exceptions.covers(f"{name}:{found.group().strip()}"):
                    complaints.append(f"{name}:{number}: {what}: {found.group().strip()}")
            if line != line.rstrip() and not name.endswith(".md"):
                complaints.append(f"{name}:{number}: blanks at the end of the line")
        if text and not text.endswith("\n"):
            complaints.append(f"{name}: no newline at the end")
    finish(complaints + exceptions.unused())


main()
