# SPDX-License-Identifier: BSD-2-Clause
"""Twisted's own network tests (Debian's python3-twisted): each test has the same outcome under the shim.

Left out: what needs TLS, which hangs on plain TCP too where Python's OpenSSL is newer than this Twisted.
"""
import re

import pytest
from support.program import EAGER, auto

PYTHON = "/usr/bin/python3"
MODULES = [
    "twisted.internet.test.test_tcp", "twisted.internet.test.test_endpoints", "twisted.internet.test.test_socket",
    "twisted.test.test_tcp", "twisted.test.test_tcp_internals", "twisted.test.test_ftp", "twisted.web.test.test_http",
    "twisted.conch.test.test_telnet", "twisted.mail.test.test_smtp", "twisted.mail.test.test_imap", "twisted.words.test.test_irc",
]
# Of the tree reporter: a test, or a group of tests; by how far it is indented.
LINE = re.compile(r"^( *)(\S+)(?: \.\.\. *\[(\w+)\])?$")


def outcomes(text):
    """[(module.class.test, outcome)] in the order in which they ran."""
    path, found = [], []
    for line in text.splitlines():
        match = LINE.match(line)
        if line.startswith("=="):
            break
        if not match:
            continue
        depth = len(match[1]) // 2
        path[depth:] = [match[2]]
        if match[3]:
            found.append((".".join(path), match[3]))
    return found


def suite(stage):
    done = stage.run(PYTHON, "-m", "twisted.trial", "--temp-directory", stage.directory / "trial", *MODULES, timeout=180, status=None)
    seen = outcomes(done.out)
    assert len(seen) > 1900, done.describe
    return seen, done.status


@pytest.mark.long
def test_twisted(compare):
    compare(suite, redirected={EAGER: 1_000_000, auto(1): 0})  # most of its connections are short
