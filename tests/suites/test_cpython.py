# SPDX-License-Identifier: BSD-2-Clause
"""CPython's own network tests (Debian's libpython3.11-testsuite): each test has the same outcome under the shim.

The tests talk to themselves: to threads, forked and spawned children. A test that fails or is skipped on plain TCP must do so
here too. Left out: vsock, which some hosts let hang with and without the shim.
"""
import collections
import xml.etree.ElementTree as ElementTree

import pytest
from support.program import EAGER, auto

PYTHON = "/usr/bin/python3"  # Debian's: the suite belongs to it
# Module: bytes that are redirected at the least, a tenth of what was seen. 0: unix sockets and socket pairs alone, or next to nothing.
LONG = {
    "test_asynchat": 100, "test_asyncio": 20_000_000, "test_asyncore": 500, "test_docxmlrpc": 2000, "test_eintr": 0, "test_epoll": 2,
    "test_ftplib": 70_000, "test_httplib": 1_000_000, "test_httpservers": 2000, "test_imaplib": 200_000, "test_largefile": 10_000_000,
    "test_logging": 1000, "test_multiprocessing_fork": 3000, "test_multiprocessing_spawn": 3000, "test_nntplib": 300, "test_os": 10_000,
    "test_poll": 0, "test_poplib": 18_000, "test_robotparser": 50, "test_select": 0, "test_selectors": 0, "test_signal": 0, "test_smtpd": 0,
    "test_smtplib": 2000, "test_socket": 9_000_000, "test_socketserver": 500_000, "test_ssl": 300_000, "test_subprocess": 0,
    "test_telnetlib": 0, "test_timeout": 0, "test_urllib2_localnet": 9000, "test_wsgiref": 500_000, "test_xmlrpc": 3000,
}
SHORT = ["test_asynchat", "test_asyncore", "test_docxmlrpc", "test_epoll", "test_httplib", "test_httpservers", "test_nntplib", "test_poplib",
         "test_smtplib", "test_socketserver", "test_telnetlib", "test_urllib2_localnet", "test_wsgiref"]
TWO_ARMS = ("test_socket", "test_asyncio", "test_socketserver")


def outcomes(path):
    """[(test, outcome)], sorted; the outcome without its text, which has addresses and times in it."""
    cases = ElementTree.parse(path).getroot().iter("testcase")
    return sorted((case.get("name"), next((child.tag for child in case if child.tag in ("skipped", "failure", "error")), "ok"))
                  for case in cases)


def suite(modules, options, timeout):
    def workload(stage):
        report = stage.directory / "report.xml"
        done = stage.run(PYTHON, "-m", "test", "-u", "network,cpu,largefile", "-i", "*VSOCK*", "-i", "*Vsock*", "--timeout", timeout,
                         "--junit-xml", report, *options, *modules, env={"TMPDIR": stage.folder("tmp")}, timeout=timeout + 30, status=None)
        assert report.exists(), done.describe
        seen = outcomes(report)
        bad = [case for case in seen if case[1] in ("failure", "error")]
        return seen, done.status, bad
    return workload


def test_cpython_short(compare):
    seen, status, bad = compare(suite(SHORT, ["-j2"], 60), redirected=1_000_000)
    assert len(seen) > 400, collections.Counter(outcome for _, outcome in seen)


@pytest.mark.long
@pytest.mark.parametrize("module", LONG)
def test_cpython(compare, long, module):
    least = LONG[module]
    # Most connections of these are too short for auto: nothing need be redirected there.
    compare(suite([module], [], 600), redirected={EAGER: least, auto(1): 0} if module in TWO_ARMS else least)
