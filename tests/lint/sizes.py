#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Files of at most 400 lines, functions of at most 55 (from the line of the name to the closing brace)."""
import re

from common import Exceptions, files, finish, text_of

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 55
NAME = re.compile(r"(\w+)\s*\(")


def functions(lines):
    """Functions in the kernel's style: "{" and "}" alone in the first column. Yields name, first line, number of lines."""
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line.startswith("}") and start:
            head = start - 1  # back over the lines of the declaration
            while head > 1 and lines[head - 2] and not re.match(r"[}#/ ]|.*[;}]$|.*\*/$", lines[head - 2]):
                head -= 1
            declaration = " ".join(lines[head - 1:start])
            found = [n for n in NAME.findall(declaration) if n != "__attribute__"]
            if found and line == "}":
                yield found[0], head, number - head + 1
            start = None


def main():
    complaints = []
    exceptions = Exceptions("sizes")
    for name in files("c") + files("py") + files("sh"):
        lines = text_of(name).splitlines()
        if len(lines) > FILE_LINES_MAX and not exceptions.covers(name):
            complaints.append(f"{name}: {len(lines)} lines (at most {FILE_LINES_MAX})")
        if not name.endswith(".c"):
            continue
        for function, first, length in functions(lines):
            if length > FUNCTION_LINES_MAX and not exceptions.covers(f"{name}:{function}"):
                complaints.append(f"{name}:{first}: {function}() has {length} lines (at most {FUNCTION_LINES_MAX})")
    finish(complaints + exceptions.unused())


main()
