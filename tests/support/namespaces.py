# SPDX-License-Identifier: BSD-2-Clause
"""Network namespaces of a test's own, and the kernel's counters in them."""
import itertools
import os
import subprocess
from pathlib import Path

_numbers = itertools.count(1)


class Netns:
    """with Netns() as netns: Program(..., netns=netns). Entered with nsenter, which leaves mounts (and so /sys) alone."""

    def __init__(self, addresses=()):
        self.name = f"smaccel-{os.getpid()}-{next(_numbers)}"
        self.addresses = addresses

    @property
    def prefix(self):
        return ["nsenter", f"--net=/run/netns/{self.name}", "--"]

    def __enter__(self):
        subprocess.run(["ip", "netns", "add", self.name], check=True, timeout=60)
        try:
            subprocess.run(["ip", "-n", self.name, "link", "set", "lo", "up"], check=True, timeout=10)
            for address in self.addresses:
                subprocess.run(["ip", "-n", self.name, "addr", "add", address, "dev", "lo"], check=True, timeout=10)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        subprocess.run(["ip", "netns", "del", self.name], check=False, timeout=10)

    def run(self, *argv):
        return subprocess.run(self.prefix + list(argv), check=True, timeout=10, capture_output=True, text=True).stdout

    def netstat(self):
        return parse_netstat(self.run("cat", "/proc/net/netstat"))


def parse_netstat(text):
    """/proc/net/netstat (or snmp) as one dict."""
    lines = [line.split() for line in text.splitlines()]
    return {name: int(value) for names, values in zip(lines[::2], lines[1::2])
            for name, value in zip(names[1:], values[1:])}


def tcp_memory_pages():
    """Pages that all TCP sockets of the host hold (proto->memory_allocated; the same in every namespace)."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        words = line.split()
        if words[0] == "TCP:":
            return int(words[words.index("mem") + 1])
    raise AssertionError("no TCP line in /proc/net/sockstat")
