# SPDX-License-Identifier: BSD-2-Clause
"""Programs that filter their system calls: the shim makes none that they would not make, whatever state a connection is in.

The filters of sandbox.c end the process for any other call, so a single one of the shim's is a failure. All bytes are checked.
"""
import errno
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from support.apps import Commanded, ss_rows, strace_counts, wait_until
from support.helper import stuck
from support.program import Arm, EAGER, PLAIN, Program, auto, built, run
from support.proof import proved
from support.scripts import CONNECTED_PAIR

ALL = [(kind, data) for kind in ["strict", "prctl", "library", "child"]
       for data in ["idle", "unread", "signals", "nonblocking", "edge"]
       if kind != "strict" or data in ("idle", "unread")]  # neither poll nor handlers in strict mode
ALL += [("strict-call", "unread"), ("prctl-call", "idle"), ("prctl-call", "nonblocking"), ("threads", "idle"), ("library", "edge-preadv2"), ("child", "edge-recvmmsg")]
SOME = [("strict", "unread"), ("prctl", "nonblocking"), ("library", "edge"), ("child", "signals"), ("threads", "idle")]
WATCH_ONLY = auto(1000000)
# Arm of the subject, arm of the peer, the state that the subject's connection has when the filter comes, the cases.
STATES = {
    "plain": (PLAIN, PLAIN, None, SOME),
    "watching": (WATCH_ONLY, WATCH_ONLY, None, SOME),
    "offered": (auto(1), PLAIN, "offered", SOME),
    "joined": (EAGER, PLAIN, "joined", SOME),
    "armed-auto": (auto(1), auto(1), "armed", ALL),
    "armed-eager": (EAGER, EAGER, "armed", SOME),
}
TIMEOUT_S = 20
CROWD_S = 60  # a second, on a machine that has nothing else to do
HIGH_FD = 256  # the shim keeps its own fds above
# A filter by ctypes, which ends the process for the system call of the first argument (-1: none); then exec of what follows.
FILTER = """
import ctypes, os, struct, sys
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, int(sys.argv.pop(1)) & 0xffffffff), (0x06, 0, 0, 0x80000000), (0x06, 0, 0, 0x7FFF0000)]
rule = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in rules))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(rules), ctypes.addressof(rule)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(program)), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""

# A filter that allows all comes while what the peer has sent is unread, and the process of the argument, if any, is stopped; then a splice
# of it, a receive, and a splice, or if that is refused a receive, of what comes after.
SPLICE = CONNECTED_PAIR + """
import ctypes, json, os, signal, struct, sys
here, peer = connected_pair()
peer.sendall(b"unread")
if sys.argv[1:]:
    os.kill(int(sys.argv[1]), signal.SIGSTOP)
rule = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 1, ctypes.addressof(rule)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(program)), 0, 0) == 0
pipe = os.pipe()
def outcome(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return error.errno
seen = [outcome(os.splice, here.fileno(), pipe[1], 64)]
seen.append(here.recv(64).decode() if seen[0] < 0 or seen[0] > 6 else os.read(pipe[0], 64).decode())
peer.sendall(b"more")
seen.append(outcome(os.splice, here.fileno(), pipe[1], 64))
print(json.dumps({"seen": [*seen, (here.recv(64) if seen[2] > 6 else os.read(pipe[0], 64)).decode()]}))
"""

# A filter that allows all comes for 80 connections, whose other ends are a forked child's.
MANY = """
import ctypes, json, os, socket, struct, sys, time
listener = socket.create_server(("127.0.0.1", 0), backlog=80)
child = os.fork()
if not child:
    ends = [socket.create_connection(listener.getsockname()) for _ in range(80)]
    while True:
        for end in ends:
            end.sendall(end.recv(64) or os._exit(0))
ends = [listener.accept()[0] for _ in range(80)]
for _ in range(10):
    for end in ends:
        end.sendall(b"turn")
    for end in ends:
        end.recv(64)
print("{}", flush=True)
sys.stdin.readline()
rule = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 1, ctypes.addressof(rule)))
libc = ctypes.CDLL(None)
began = time.monotonic()
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(program)), 0, 0) == 0
print(json.dumps({"ms": (time.monotonic() - began) * 1000}), flush=True)
"""

# Two connections with bytes unread, whose numbers are 1,024 apart, and duplicates of one of them that are made after the filter. That has
# close_range(2) fail, as a container's does that does not know it: nothing is closed.
NUMBERS = """
import ctypes, errno, json, os, resource, socket, struct
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
listener = socket.create_server(("127.0.0.1", 0))
first = socket.create_connection(listener.getsockname())
peers = [listener.accept()[0]]
second = socket.create_connection(listener.getsockname())
peers.append(listener.accept()[0])
far = first.fileno() + 1024
os.dup2(second.detach(), far)
second = socket.socket(fileno=far)
for here, peer in zip([first, second], peers):
    for _ in range(50):
        peer.sendall(b"turn")
        here.sendall(here.recv(64))
        peer.recv(64)
    peer.sendall(b"unread")
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, 436), (0x06, 0, 0, 0x50000 | errno.ENOSYS), (0x06, 0, 0, 0x7FFF0000)]
rule = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in rules))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(rules), ctypes.addressof(rule)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(program)), 0, 0) == 0
duplicate = first.dup()
again = socket.socket(fileno=os.dup2(first.fileno(), 900))
assert libc.close_range(3, 4095, 0) == -1
pipe = os.pipe()
seen = []
for end in (duplicate, again, first, second):
    try:
        seen.append(os.splice(end.fileno(), pipe[1], 1, flags=os.SPLICE_F_NONBLOCK))
    except OSError as error:
        seen.append(error.errno)
peers[0].sendall(b"more")
rest = len("unreadmore") - seen[:3].count(1)
print(json.dumps({"seen": seen, "rest": duplicate.recv(rest, socket.MSG_WAITALL).decode()[-6:]}))
"""


def states_of(helper, pid):
    return [row["state"] for row in ss_rows(helper) if row["pid"] == pid]


class Subject(Commanded):
    def go(self):
        self.commands.write("go\n")

    def await_state(self, helper, expected):
        """A helper that had no CPU for a while is asked again some turns later."""
        def reached():
            if expected in states_of(helper, self.pid):
                return True
            warm = self.out.count("warm\n")
            self.commands.write("more\n")
            return wait_until(lambda: self.out.count("warm\n") > warm, 10, self.describe) and False
        wait_until(reached, TIMEOUT_S, lambda: f"{states_of(helper, self.pid)}\n{helper.explain()}")


@pytest.mark.parametrize("state, kind, data", [(state, *case) for state, row in STATES.items() for case in row[3]])
def test_filter_in_the_middle(helper, state, kind, data):
    arm, peer_arm, expected, _ = STATES[state]
    with Commanded([built("environment/talk"), "server"], peer_arm, helper.socket) as peer:
        port = peer.wait_output("port ")
        with helper.counting() as grown, \
                Subject([built("environment/sandbox"), kind, data, port], arm, helper.socket) as subject:
            subject.wait_output("warm")
            if expected:
                subject.await_state(helper, expected)
            subject.go()
            status = subject.wait(TIMEOUT_S)
            assert status == 0 and subject.out.endswith("ok\n"), subject.describe()
    if expected == "armed":
        proved(grown["redirected_bytes"] > 0, grown)


def converse(helper, arm, *prefix):
    """Both ends in one arm, the client behind the prefix. What the helper counted."""
    with helper.counting() as grown, Commanded([built("environment/talk"), "server"], arm, helper.socket) as server:
        port = server.wait_output("port ")
        seen = run([*prefix, built("environment/talk"), "client", port, 200], arm, helper.socket, timeout=TIMEOUT_S)
        assert seen["turns"] == 200
    return grown


def test_inherited_filter_is_respected(helper):
    """A filter as systemd's SystemCallFilter installs: its program is plain TCP, and lives."""
    grown = converse(helper, EAGER, built("environment/sandbox"), "under")
    assert grown["redirected_bytes"] == 0, grown


def test_inherited_filter_can_be_trusted(helper, monkeypatch):
    """The same program, run under a filter that allows all, accelerates if the administrator says so, and only then."""
    harmless = [sys.executable, "-c", FILTER, -1]
    monkeypatch.delenv("SMACCEL_SECCOMP", raising=False)  # of a turn before
    assert converse(helper, EAGER, *harmless)["redirected_bytes"] == 0
    monkeypatch.setenv("SMACCEL_SECCOMP", "trust")
    proved(converse(helper, EAGER, *harmless)["redirected_bytes"] > 0, helper.explain)


# Of each kind that takes calls beyond those that smaccel(1) lists for trust.
BEYOND_THE_LIST = ["stop-continue-part", "stop-continue-send-part", "trapped-timeout", "splice-packets", "splice-packets-sendfile",
                   "fork-slow-clone", "lasting-close", "lasting-socket-first", "lasting-waitall", "lasting-waitall-first", "sendfile-peer-closes"]


def notes_of(command, arm, socket):
    """{(case, field): values}, but for those that say how a case ran."""
    notes = {}
    with Program(command, arm, socket) as program:
        assert program.wait(TIMEOUT_S) == 0, program.describe()
    for line in program.out.splitlines():
        case, field, value = (line.split(" ", 2) + ["", ""])[:3]
        if field not in ("armed", "pid", "made"):
            notes.setdefault((case, field), []).append(value)
    return notes


def test_wholly_trusted_filter_changes_nothing(helper, monkeypatch):
    """As one that allows all that the shim ever does, which a container's is: it is as without."""
    command = [sys.executable, "-c", FILTER, -1, built("conformance/semantics"), *BEYOND_THE_LIST]
    plain = notes_of(command, PLAIN, helper.socket)
    assert {case for case, _ in plain} == set(BEYOND_THE_LIST)
    monkeypatch.setenv("SMACCEL_SECCOMP", "trust-all")
    with helper.counting() as grown:
        accelerated = notes_of(command, EAGER, helper.socket)
    assert accelerated == plain
    proved(grown["redirected_bytes"] > 0, helper.explain)


def test_trusted_filter_is_asked_for_nothing_more_by_more_connections(helper, monkeypatch):
    """Beyond the 512 whose accounts are mapped at first: mremap(2) is not among what smaccel(1) says must be allowed."""
    monkeypatch.setenv("SMACCEL_SECCOMP", "trust")
    number = {"x86_64": 25}.get(os.uname().machine, 216)
    crowd = [sys.executable, "-c", FILTER, number, built("bench/rr"), "--connections", 700, "--size", 64, "--seconds", CROWD_S]
    before = helper.totals()["pairs_armed_total"]
    with Program(crowd, EAGER, helper.socket) as program:  # ended when that is seen
        wait_until(lambda: helper.totals()["pairs_armed_total"] >= before + 700, CROWD_S, helper.explain)
        assert program.process.poll() is None, program.describe()


# clone(2); nanosleep(2), getpid(2), getppid(2), gettid(2)
FORK_NUMBERS = {"x86_64": (56, 35, 39, 110, 186)}.get(os.uname().machine, (220, 101, 172, 173, 178))
# Forks of three kinds behind a filter that ends the process for asking who it is, and what they and their parent say on the connection.
FORKS = CONNECTED_PAIR + """
import ctypes, json, os, signal, struct, sys
here, peer = connected_pair()
rules = [(0x20, 0, 0, 0), *[(0x15, 4 - i, 0, n) for i, n in enumerate(map(int, sys.argv[2:]))], (0x06, 0, 0, 0x7FFF0000),
         (0x06, 0, 0, 0x80000000)]
rule = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in rules))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(rules), ctypes.addressof(rule)))
libc = ctypes.PyDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(program)), 0, 0) == 0
status = []
for fork in (libc.fork, libc._Fork, lambda: libc.syscall(int(sys.argv[1]), signal.SIGCHLD, None, None, None, None)):
    child = fork()
    if child == 0:
        os.write(here.fileno(), b"child")
        libc._exit(0)
    status.append(os.waitpid(child, 0)[1])
here.sendall(b"parent")
here.shutdown(socket.SHUT_WR)
print(json.dumps({"status": status, "said": b"".join(iter(lambda: peer.recv(64), b"")).decode()}))
"""


def listed_calls(begin, end):
    """What smaccel(1) has between these two."""
    manual = (Path(__file__).parents[2] / "helper/man/smaccel.1").read_text()
    assert begin in manual and end in manual.partition(begin)[2]
    return set(re.findall(r"\w+", manual.partition(begin)[2].partition(end)[0]))


def calls_of(cases, arm, socket, path):
    with Program(["strace", "-f", "-c", "-o", path, built("conformance/semantics"), *cases], arm, socket) as program:
        assert program.wait(3 * TIMEOUT_S) == 0, program.describe()
    return set(strace_counts(path))


def test_trusted_filter_is_asked_for_what_the_manual_says(helper, monkeypatch, tmp_path):
    """Each system call that a program makes only because of the shim is listed."""
    cases = ["send-after-shutdown", "threads-readers", "cancel-second-reader", "close-unread", "close-unread-dup", "splice-out-no-reader",
             "fionread-mixture-5000", "exit-unread"]
    listed = listed_calls("uses anyway:", ". What takes")
    monkeypatch.delenv("SMACCEL_SECCOMP", raising=False)  # of a turn before
    plain = calls_of(cases, PLAIN, helper.socket, tmp_path / "plain")
    monkeypatch.setenv("SMACCEL_SECCOMP", "trust")
    with helper.counting() as grown:
        more = calls_of(cases, EAGER, helper.socket, tmp_path / "trusting") - plain
    assert more <= listed, more - listed
    proved(grown["redirected_bytes"] > 0 and {"socketpair", "rt_tgsigqueueinfo"} <= more, (grown, more))


def test_wholly_trusted_filter_is_asked_for_what_the_manual_says(helper, monkeypatch, tmp_path):
    listed = listed_calls("uses anyway:", ". What takes") | listed_calls("The further calls are", ".\n.IP")
    plain = calls_of(BEYOND_THE_LIST, PLAIN, helper.socket, tmp_path / "plain")
    monkeypatch.setenv("SMACCEL_SECCOMP", "trust-all")
    more = calls_of(BEYOND_THE_LIST, EAGER, helper.socket, tmp_path / "trusting") - plain
    assert more <= listed and "rt_sigtimedwait" in more, more - listed


def test_splice_of_what_was_unread_when_the_filter_came(helper):
    """The kernel's splice does not see it (fact 8), and would wait: EINVAL, as of a file that cannot be spliced, until it is read."""
    program = [sys.executable, "-c", SPLICE]
    assert run(program, PLAIN, helper.socket, timeout=TIMEOUT_S)["seen"] == [6, "unread", 4, "more"]
    with helper.counting() as grown:
        seen = run(program, EAGER, helper.socket, timeout=TIMEOUT_S)["seen"]
    proved(grown["redirected_bytes"] >= 400, grown)  # what was unread, too
    assert seen == [errno.EINVAL, "unread", 4, "more"]


def test_splice_when_the_helper_could_not_pin(helper):
    """The peer's bytes are redirected after the filter as before it."""
    with helper.counting() as grown:
        try:
            seen = run([sys.executable, "-c", SPLICE, helper.pid], EAGER, helper.socket, timeout=TIMEOUT_S)["seen"]
        finally:
            helper.signal(signal.SIGCONT)
    proved(grown["redirected_bytes"] >= 400, grown)
    assert seen == [errno.EINVAL, "unread", errno.EINVAL, "more"]


def test_numbers_of_what_was_unread_when_the_filter_came(helper):
    """A duplicate, too, is one whose splice fails, and whose receives are repeated; and so are both of two numbers that are far apart."""
    program = [sys.executable, "-c", NUMBERS]
    assert run(program, PLAIN, helper.socket, timeout=TIMEOUT_S) == {"seen": [1] * 4, "rest": "admore"}
    with helper.counting() as grown:
        seen = run(program, EAGER, helper.socket, timeout=TIMEOUT_S)
    proved(grown["redirected_bytes"] >= 800, grown)
    assert seen == {"seen": [errno.EINVAL] * 4, "rest": "admore"}


def test_a_vfork_child_under_a_filter_leaves_its_parents_datagrams_apart(helper):
    """What it did with the number its parent's receives took to be theirs: both came in one."""
    with helper.counting() as grown:
        assert run([built("environment/borrowed")], EAGER, helper.socket, timeout=TIMEOUT_S) == {"read": "one"}
    proved(grown["redirected_msgs"] >= 50, grown)


def test_forks_behind_a_filter(helper):
    """nanosleep, getpid, getppid and gettid are not what a fork needs."""
    program = [sys.executable, "-c", FORKS, *FORK_NUMBERS]
    expected = {"status": [0, 0, 0], "said": "childchildchildparent"}
    assert run(program, PLAIN, helper.socket, timeout=TIMEOUT_S) == expected
    with helper.counting() as grown:
        assert run(program, EAGER, helper.socket, timeout=TIMEOUT_S) == expected
    proved(grown["redirected_bytes"] >= 400, grown)


def test_sandbox_holds_no_way_to_the_helper(helper):
    """The fds of the shim are closed before the filter goes in."""
    with Commanded([built("environment/talk"), "server"], EAGER, helper.socket) as peer, \
            Subject([built("environment/sandbox"), "library", "idle", peer.wait_output("port ")], EAGER, helper.socket) as subject:
        subject.wait_output("warm")
        subject.await_state(helper, "armed")
        assert any(int(fd) > HIGH_FD for fd in os.listdir(f"/proc/{subject.pid}/fd"))
        os.kill(peer.pid, signal.SIGSTOP)  # the subject waits for an answer, inside its sandbox
        try:
            subject.go()
            wait_until(lambda: "Seccomp:\t2" in Path(f"/proc/{subject.pid}/status").read_text(), 5)
            assert not [fd for fd in os.listdir(f"/proc/{subject.pid}/fd") if int(fd) > HIGH_FD]
        finally:
            os.kill(peer.pid, signal.SIGCONT)
        assert subject.wait(TIMEOUT_S) == 0, subject.describe()


# With a budget of time rather than of leaves in vain: 35 to 48 of 80.
def test_leaves_of_a_process_without_a_cpu(helper):
    """It is answered at once each time, but comes to ask so late that together they are more than what is waited for without an answer."""
    talks = Arm("eager", "eager", {"SMACCEL_LOG": "info"})
    with helper.counting() as grown, Commanded([sys.executable, "-c", MANY], talks, helper.socket) as ends:
        ends.answer(10)
        with stuck(ends, 10, call="sendmsg"):
            ms = ends.ask("filter", 10)["ms"]
    proved(grown["pairs_armed_total"] == 80 and "does not answer" not in ends.err, lambda: f"{ms} ms: {grown}\n{ends.err}")
    assert grown["leaves"] == 80, f"{ms} ms: {grown}"
