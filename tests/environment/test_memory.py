# SPDX-License-Identifier: BSD-2-Clause
"""Programs that lock their memory, or may not have much: it is as without the shim, which reserves more than it uses.

mlockall() says what it says without it, and locks no memory that is only reserved. What a program can have under RLIMIT_AS and
RLIMIT_DATA is nearly as much. A core file has no more in it.
"""
import errno
import re
import sys
from pathlib import Path

import pytest
from support.apps import Commanded
from support.program import EAGER, PLAIN, auto, built, run
from support.proof import proved

CURRENT, FUTURE, ONFAULT = 1, 2, 4
OWN_KIB = 2500      # what the shim has in use, its code included
MEBI = 1024
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
# name: who, the limit in KiB, flags, when, what comes of it, whether it redirects afterwards
CASES = {
    "limited": (NOBODY, 8 * MEBI, CURRENT, "late", 0, True),
    "limited-on-fault": (NOBODY, 8 * MEBI, CURRENT | ONFAULT, "late", 0, True),
    # The second call ends what the first one wanted of later memory, also where the shim must lock all that there is by itself.
    "limited-not-future-any-more": (NOBODY, 8 * MEBI, f"{CURRENT | FUTURE},{CURRENT}", "late", 0, True),
    "limited-future-late": (NOBODY, 8 * MEBI, f"{CURRENT},{CURRENT | FUTURE}", "late", 0, True),
    "limited-too-much": (NOBODY, 512, CURRENT, "late", errno.ENOMEM, True),
    "nothing-allowed": (NOBODY, 0, CURRENT, "late", errno.EPERM, True),
    "no-such-flag": (NOBODY, 8 * MEBI, CURRENT | 64, "late", errno.EINVAL, True),
    # The way to the helper is mapped later.
    "limited-future": (NOBODY, 8 * MEBI, CURRENT | FUTURE, "early", 0, True),
    "root": ([], 0, CURRENT, "late", 0, True),
    "root-future": ([], 0, CURRENT | FUTURE, "early", 0, True),
    "root-future-only": ([], 0, FUTURE, "early", 0, True),
    "root-not-future-any-more": ([], 0, f"{CURRENT | FUTURE},{CURRENT}", "late", 0, True),
    "root-on-fault": ([], 0, CURRENT | FUTURE | ONFAULT, "early", 0, True),
}


@pytest.mark.parametrize("arm", [EAGER, auto(1)], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_memory_is_locked_as_without(helper, name, arm):
    who, limit, flags, when, result, redirects = CASES[name]
    command = [*who, built("environment/locked"), limit, flags, when]
    plain = run(command, PLAIN, timeout=30)
    with helper.counting() as grown:
        seen = run(command, arm, helper.socket, timeout=30)
    assert seen["result"] == plain["result"] == result, (seen, plain)
    assert seen["locked_kib"] <= plain["locked_kib"] + OWN_KIB, (seen, plain)
    assert seen["later_kib"] == plain["later_kib"], (seen, plain)
    assert (seen["locked_kib"] > 0) == (plain["locked_kib"] > 0), (seen, plain)
    proved(grown["redirected_bytes"] > 0 or not redirects, helper.explain)


TAKE = """
import json, socket
socket.socket().close()
taken = []
try:
    while True:
        taken.append(bytearray(1 << 19))
except MemoryError:
    count = len(taken)
    taken.clear()
print(json.dumps({"mebi": count / 2}))
"""


@pytest.mark.parametrize("limit", ["as", "data"])
@pytest.mark.parametrize("mebi", [100, 400])
def test_small_programs_have_their_room(helper, limit, mebi):
    command = ["prlimit", f"--{limit}={mebi << 20}", sys.executable, "-c", TAKE]
    plain, seen = run(command, PLAIN, timeout=20)["mebi"], run(command, EAGER, helper.socket, timeout=20)["mebi"]
    assert plain > 0.5 * mebi and seen > 0.86 * plain, (seen, plain)


# So many connections, both ends of each here; then the sizes, or a limit: the argument.
# Three turns on each connection, and more until all are redirected, if there is the shim: a helper may be late.
LATE = """
import json, os, resource, socket, sys, time
def received_by_tcp(end):
    return end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)[128:136]
listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
ends = []
for _ in range(int(sys.argv[1])):
    ends.append(socket.create_connection(listener.getsockname()))
    ends.append(listener.accept()[0])
rounds, passes, deadline = 0, True, time.monotonic() + 20
while rounds < 3 or (passes and "libsmaccel" in os.environ.get("LD_PRELOAD", "") and time.monotonic() < deadline):
    rounds, passes = rounds + 1, False
    for one, other in zip(ends[::2], ends[1::2]):
        before = received_by_tcp(other)
        for a, b in ((one, other), (other, one)):
            a.sendall(b"x" * 100)
            assert b.recv(100, socket.MSG_WAITALL) == b"x" * 100
        passes |= received_by_tcp(other) != before
if sys.argv[2] == "sizes":
    memory = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print(json.dumps({"as": int(memory["VmSize"].split()[0]), "data": int(memory["VmData"].split()[0])}))
    raise SystemExit
limit = {"as": resource.RLIMIT_AS, "data": resource.RLIMIT_DATA}[sys.argv[2]]
resource.setrlimit(limit, (int(sys.argv[3]), resource.RLIM_INFINITY))
"""


@pytest.mark.parametrize("limit", ["as", "data"])
def test_programs_that_limit_themselves_have_their_room(helper, limit):
    """The limit comes when the shim has reserved what it needs: some 5 MiB (54 MiB were too many)."""
    before = run([sys.executable, "-c", LATE, 1, "sizes"], PLAIN, timeout=20)
    room = before[limit] + 60 * MEBI
    command = [sys.executable, "-c", LATE + TAKE, 1, limit, room * 1024]
    plain = run(command, PLAIN, timeout=20)["mebi"]
    with helper.counting() as grown:
        seen = run(command, EAGER, helper.socket, timeout=20)["mebi"]
    proved(grown["redirected_bytes"] > 0, helper.explain)
    assert plain > 40 and seen > 0.86 * plain, (seen, plain)


def test_more_is_reserved_with_more_connections(helper):
    """Each of 1500 connections of one process, 3000 ends, is accelerated; the addresses for them come as they do."""
    sizes = []
    for count in (1, 1500):
        command = ["prlimit", "--nofile=8192", sys.executable, "-c", LATE, count, "sizes"]
        plain = run(command, PLAIN, timeout=30)
        with helper.counting() as grown:
            seen = run(command, EAGER, helper.socket, timeout=60)
        proved(grown["pairs_armed_total"] == count, lambda: (grown, helper.explain()))
        sizes.append(seen["as"] - plain["as"])
    assert sizes[0] < 8 * MEBI and sizes[0] < sizes[1] < 10 * MEBI, sizes


# What a database maps: more than lies in reach of the table of connections.
HUGE = """
import ctypes, mmap
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
assert libc.mmap(None, 200 << 30, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, -1, 0) > 0
"""


@pytest.mark.parametrize("layout", [[], ["setarch", "-R"], ["prlimit", "--stack=unlimited:", "setarch", "-R"]],
                         ids=["random", "fixed", "upwards"])
def test_connections_beyond_a_huge_mapping(helper, layout):
    """Where the kernel finds room for more connections only far away, all of 2500 are accelerated as well."""
    command = [*layout, "prlimit", "--nofile=8192", sys.executable, "-c", HUGE + LATE, 2500, "sizes"]
    with helper.counting() as grown:
        run(command, EAGER, helper.socket, timeout=60)
    proved(grown["pairs_armed_total"] == 2500, lambda: (grown, helper.explain()))


@pytest.mark.parametrize("mebi, redirects", [(30, False), (60, True)])
def test_limited_programs_talk(helper, mebi, redirects):
    prefix = ["prlimit", f"--as={mebi << 20}", built("environment/talk")]
    more = ["when-redirecting"] if redirects else []
    with helper.counting() as grown, Commanded([*prefix, "server"], EAGER, helper.socket) as server:
        seen = run([*prefix, "client", server.wait_output("port "), 100, *more], EAGER, helper.socket, timeout=20)
    assert seen["turns"] == 100
    assert (grown["redirected_bytes"] > 0) == redirects, helper.explain()


def test_reserved_memory_is_not_dumped(helper):
    """The kernel fills the holes of a file without a name when it dumps them: 37 MB in each core file."""
    with Commanded([built("environment/talk"), "server"], EAGER, helper.socket) as server:
        run([built("environment/talk"), "client", server.wait_output("port "), 50, "when-redirecting"], EAGER, helper.socket, timeout=20)
        mappings = re.findall(r"^(\S+) \S+ \S+ \S+ \S+ +(/memfd:\S*).*?^VmFlags: ([^\n]*)", Path(f"/proc/{server.pid}/smaps").read_text(),
                              re.MULTILINE | re.DOTALL)
    assert mappings
    for place, name, flags in mappings:
        assert "dd" in flags.split(), (place, name)
