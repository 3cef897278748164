# SPDX-License-Identifier: BSD-2-Clause
"""What a program lives with: other libraries that are preloaded, other allocators, ASan, another libc; or none of it.

Both ends are tests/environment/talk.c, which checks every byte. Where the shim is loaded the helper must have redirected.
"""
import array
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.apps import Commanded, wait_until
from support.helper import Helper
from support.program import BUILD, EAGER, PLAIN, Arm, Program, auto, built, run
from support.proof import proved
from support.scripts import CONNECTED_PAIR

LIBRARIES = Path("/usr/lib") / subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True, check=True).stdout.strip()
SHIM = BUILD / "libsmaccel.so"
ALLOCATORS = ["libjemalloc.so.2", "libtcmalloc_minimal.so.4", "libmimalloc.so.2"]
# Neighbours in LD_PRELOAD, and what they need to be told. The clocks: one stands still, one is fast.
NEIGHBOURS = {
    "faketime-frozen": ("faketime/libfaketime.so.1", {"FAKETIME": "2020-02-02 02:02:02"}),
    "faketime-fast": ("faketime/libfaketimeMT.so.1", {"FAKETIME": "+30d x5"}),
    "eatmydata": ("libeatmydata.so", {}),
}
TURNS = 250
TIMEOUT_S = 20
ARMS = [EAGER, auto(1)]


def preloading(*libraries, **variables):
    """What runs a program with these, in that order, in the place of the shim alone."""
    return ["env", f"LD_PRELOAD={':'.join(str(library) for library in libraries)}", *(f"{k}={v}" for k, v in variables.items())]


def both_orders(library):
    return [(library, SHIM), (SHIM, library)]


def converse(helper, arm, server=(), client=(), program="environment/talk", peer=None, server_arm=None, accelerated=True):
    """Serves and asks; server, client: prefixes. What the helper counted, and the libraries that the server had."""
    when = ["when-redirecting"] if accelerated else []
    with helper.counting() as grown, \
            Commanded([*server, built(program), "server"], server_arm or arm, helper.socket) as running:
        port = running.wait_output("port ")
        maps = Path(f"/proc/{running.pid}/maps").read_text()
        seen = run([*client, built(peer or program), "client", port, TURNS, *when], arm, helper.socket, timeout=TIMEOUT_S)
        assert seen["turns"] == TURNS
    return grown, maps, seen


def assert_accelerated(helper, grown, seen):
    proved(grown["redirected_bytes"] > 0.5 * 2 * seen["bytes"], lambda: f"{seen} {grown}\n{helper.explain()}")


@pytest.mark.parametrize("arm", ARMS, ids=str)
@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_allocator(helper, allocator, order, arm):
    prefix = preloading(*both_orders(LIBRARIES / allocator)[order == "after"])
    grown, maps, seen = converse(helper, arm, prefix, prefix)
    assert f"/{allocator}" in maps and "/libsmaccel.so" in maps
    assert_accelerated(helper, grown, seen)


@pytest.mark.parametrize("arm", ARMS, ids=str)
@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_neighbour(helper, neighbour, order, arm):
    library, variables = NEIGHBOURS[neighbour]
    prefix = preloading(*both_orders(LIBRARIES / library)[order == "after"], **variables)
    grown, maps, seen = converse(helper, arm, prefix, prefix)
    assert f"/{Path(library).name}" in maps and "/libsmaccel.so" in maps
    assert_accelerated(helper, grown, seen)


def counts_of(path):
    return {file.suffix[1:]: int(file.read_text()) for file in path.parent.glob(f"{path.name}.*")}


def test_neighbour_that_wraps_the_same_calls_sees_them(helper, tmp_path):
    """The shim makes some calls itself where libc would do no more; not so where another library comes in between."""
    wrappers, counts = [built(f"environment/counting-{name}.so") for name in ("send", "recv")], []
    for arm, libraries in ((PLAIN, wrappers), (EAGER, [SHIM, *wrappers]), (EAGER, [*wrappers, SHIM])):
        path = tmp_path / str(len(counts))
        grown, _, seen = converse(helper, arm, client=preloading(*libraries, COUNTING_FILE=path),
                                  server_arm=EAGER if arm.accelerated else PLAIN, accelerated=False)
        counts.append(counts_of(path))
        if arm.accelerated:
            assert_accelerated(helper, grown, seen)
    plain, between, first = counts
    assert plain == first and len(plain) == 2 and min(plain.values()) >= TURNS, counts
    # a long send() of an end in the sockhash is made by sendmsg()
    assert between["send"] >= TURNS / 2 and between["recv"] == plain["recv"], counts


@pytest.mark.parametrize("name", ["read", "recv", "recvfrom", "recvmsg", "readv", "write", "send", "sendto", "sendmsg", "writev"])
def test_neighbour_that_wraps_one_call_sees_it(helper, tmp_path, name):
    """On a connection that is only watched each call is made as it came, whichever it is that the neighbour wraps."""
    library, counts = built(f"environment/counting-{name}.so"), []
    for arm, libraries in ((PLAIN, [library]), (auto(1000000), [SHIM, library]), (auto(1000000), [library, SHIM])):
        path = tmp_path / str(len(counts))
        run([*preloading(*libraries, COUNTING_FILE=path), built("environment/calls"), TURNS], arm, helper.socket, timeout=TIMEOUT_S)
        counts.append(counts_of(path)[name])
    assert counts == [TURNS] * 3, counts


HANDLED = """
import ctypes, json, os, signal
counted, libc = [], ctypes.CDLL(None)
handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(counted.append)
libc.signal(signal.SIGUSR1, handler)
for interrupts in 1, 0:
    libc.siginterrupt(signal.SIGUSR1, interrupts)
    os.kill(os.getpid(), signal.SIGUSR1)
print(json.dumps({"handled": len(counted)}))
"""


@pytest.mark.parametrize("arm", ARMS, ids=str)
def test_second_copy_is_off(helper, tmp_path, arm):
    """As where /etc/ld.so.preload has one, and `smaccel run` brings another: each would call the other's handlers of signals for ever."""
    prefix = preloading(SHIM, shutil.copy(SHIM, tmp_path / "libsecond.so"))
    grown, maps, seen = converse(helper, arm, prefix, prefix)
    assert "/libsecond.so" in maps and "/libsmaccel.so" in maps
    assert_accelerated(helper, grown, seen)
    assert run([*prefix, sys.executable, "-c", HANDLED], arm, helper.socket, timeout=TIMEOUT_S) == {"handled": 2}


@pytest.mark.parametrize("arm", [PLAIN, EAGER], ids=str)
def test_handler_from_before_the_constructor(helper, arm):
    """It was not installed by a wrapper that counts; it interrupts a receive all the same."""
    with helper.counting() as grown:
        seen = run([built("environment/early_handler")], arm, helper.socket, timeout=TIMEOUT_S)
    if arm.accelerated:
        assert_accelerated(helper, grown, seen)


@pytest.mark.parametrize("arm", [auto(1000000), EAGER], ids=str)
@pytest.mark.parametrize("name", ["read", "recv", "recvmsg", "readv", "write", "send", "sendmsg", "writev"])
def test_process_of_one_thread_cancels_itself(helper, name, arm):
    """Its calls are cancellation points then, although libc says that there is one thread."""
    for each in (PLAIN, arm):
        assert run([built("environment/cancelled"), 20, name], each, helper.socket, timeout=TIMEOUT_S) == {"cancelled": True}, each


@pytest.mark.parametrize("order", ["before", "after"])
def test_waits_are_bounded_under_a_clock_that_stands_still(order):
    """The shim's bounds are of real time. A helper that stops in the middle of joins costs one of them, whatever the program's
    clock says: without clock.c each thread waits for ever."""
    library, variables = NEIGHBOURS["faketime-frozen"]
    prefix = preloading(*both_orders(LIBRARIES / library)[order == "after"], **variables)
    workload = [*prefix, built("conformance/exchange"), "both", "connections=4000", "turns=4", "deadline=1000"]
    with Helper() as helper, Program(workload, EAGER, helper.socket) as program:
        wait_until(lambda: helper.totals()["sockets_joined"] > 20, 10, program.describe)
        helper.signal(signal.SIGSTOP)
        try:
            assert program.wait(TIMEOUT_S) == 0, program.describe()
        finally:
            helper.signal(signal.SIGCONT)
        assert program.json()["connections"] == 4000


@pytest.mark.parametrize("arm", ARMS, ids=str)
def test_asan(helper, arm):
    """Programs built with ASan and UBSan; `smaccel run` sets the variable that ASan wants by itself."""
    variable = ["env", "ASAN_OPTIONS=verify_asan_link_order=0"]
    grown, maps, seen = converse(helper, arm, variable, variable, program="environment/talk-asan")
    assert "/libasan.so" in maps and "/libsmaccel.so" in maps
    assert_accelerated(helper, grown, seen)


def test_asan_by_smaccel_run(helper):
    prefix = [BUILD / "smaccel", "run", "--profile", "eager", "--socket", helper.socket, "--"]
    grown, _, seen = converse(helper, PLAIN, prefix, prefix, program="environment/talk-asan")
    assert_accelerated(helper, grown, seen)


@pytest.mark.parametrize("arm", ARMS, ids=str)
@pytest.mark.parametrize("static_end", ["server", "client"])
def test_static_program_is_a_plain_peer(helper, static_end, arm):
    """No dynamic linker, so no shim (as in a Go program): the other end finds nobody to join."""
    programs = ("environment/talk-static", "environment/talk") if static_end == "server" else ("environment/talk", "environment/talk-static")
    grown, maps, _ = converse(helper, arm, program=programs[0], peer=programs[1], accelerated=False)
    assert ("/libsmaccel.so" in maps) == (static_end == "client")
    assert grown["redirected_bytes"] == 0 and grown["pairs_armed_total"] == 0, grown


# The program at its second argument's mode, as nobody, with a /etc and a /run of its own: there the library is in ld.so.preload, and the
# helper where it usually is, as programs with other rights than their caller are told of no other.
PRELOADED = """
set -e
shim=$1 mode=$2 program=$3
shift 3
mount -t tmpfs -o size=16m tmpfs /etc
mount -t tmpfs tmpfs /run
mkdir /run/smaccel
: >/run/smaccel/smaccel.sock
mount --bind "$SMACCEL_SOCKET" /run/smaccel/smaccel.sock
unset SMACCEL_SOCKET
cp "$shim" /etc/libsmaccel.so
cp "$program" /etc/program
chmod "$mode" /etc/program
echo /etc/libsmaccel.so >/etc/ld.so.preload
exec setpriv --reuid=65534 --regid=65534 --clear-groups -- /etc/program "$@"
"""
AT_SECURE = 23


def is_secure(pid):
    words = array.array("L", Path(f"/proc/{pid}/auxv").read_bytes())
    return dict(zip(words[::2], words[1::2]))[AT_SECURE] == 1


@pytest.mark.parametrize("mode, secure", [("755", False), ("4755", True)], ids=["plain", "setuid"])
def test_preloaded_for_all(helper, mode, secure):
    """/etc/ld.so.preload reaches the programs that LD_PRELOAD does not: they stay on plain TCP."""
    command = ["env", f"SMACCEL_SOCKET={helper.socket}", "unshare", "--mount", "sh", "-c", PRELOADED, "sh", SHIM, mode, built("environment/talk")]
    with helper.counting() as grown, Commanded([*command, "server"]) as server:
        port = server.wait_output("port ")
        assert is_secure(server.pid) == secure, "is /etc mounted nosuid?"
        assert "/etc/libsmaccel.so" in Path(f"/proc/{server.pid}/maps").read_text()
        when = [] if secure else ["when-redirecting"]
        assert run([*command, "client", port, TURNS, *when], timeout=TIMEOUT_S)["turns"] == TURNS
    if secure:
        assert grown["sockets_joined"] == grown["pairs_armed_total"] == grown["redirected_bytes"] == 0, grown
    else:
        proved(grown["redirected_bytes"] > 0, helper.explain)


# Both ends of a connection, held until standard input ends.
HOLDS = CONNECTED_PAIR + """
import sys
ends = connected_pair()
ends[0].sendall(b"x")
ends[1].recv(1)
print("up", flush=True)
sys.stdin.read()
"""


def explain(helper, program):
    """Exit status, and what `smaccel explain` says of it."""
    said = subprocess.run([BUILD / "smaccel", "explain", "--json", str(program.pid)], capture_output=True, text=True, timeout=TIMEOUT_S)
    seen = json.loads(said.stdout)
    return said.returncode, {each["subject"] for each in seen["findings"] if each["hinders"]}, seen["connections"]


def explained(program):
    return subprocess.run([BUILD / "smaccel", "explain", str(program.pid)], capture_output=True, text=True, timeout=TIMEOUT_S).stdout


def switch(helper, command):
    subprocess.run([BUILD / "smaccel", command, "--socket", helper.socket], check=True, stdout=subprocess.DEVNULL, timeout=TIMEOUT_S)


def test_what_explain_says(helper):
    """It asks the helper that the process was started with; what hinders is the exit status; connections are counted by reason."""
    with Commanded([sys.executable, "-c", HOLDS], EAGER, helper.socket) as program:
        program.wait_output("up")
        status, hindering, connections = explain(helper, program)
        assert (status, hindering) == (0, set()), hindering
        assert [(each["reason"], each["count"]) for each in connections] == [("armed", 2)], connections
        try:
            switch(helper, "off")
            assert explain(helper, program)[:2] == (1, {"helper"})
        finally:
            switch(helper, "on")
        assert explain(helper, program)[0] == 0


WITHOUT_PROC = ("unshare", "--mount", "sh", "-c", 'mount --make-rprivate / && umount -l /proc && exec "$0" "$@"')
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")


@pytest.mark.parametrize("prefix, hindering, said, log", [
    (("prlimit", "--nofile=26:"), "limits", "RLIMIT_NOFILE", "no number for a file of the library's own"),
    (("prlimit", "--nofile=30:"), None, "", ""),  # three that a late helper leaves taken
    (WITHOUT_PROC, "filter", "no /proc", "no /proc/self/status"),
    (AS_NOBODY, None, "", ""),
], ids=["few-files", "enough-files", "no-proc", "nobody"])
def test_what_explain_says_of_a_process_without_a_session(helper, prefix, hindering, said, log):
    arm = Arm("eager", "eager", {"SMACCEL_LOG": "info"})
    with Commanded([*prefix, sys.executable, "-c", HOLDS], arm, helper.socket) as program:
        program.wait_output("up")
        assert log in program.err and ("no number" in program.err) == (hindering == "limits"), program.err
        assert explain(helper, program)[:2] == (1 if hindering else 0, {hindering} - {None})
        assert said in explained(program)


@pytest.mark.parametrize("closed", ["socket", "directory"])
def test_what_explain_says_of_a_socket_that_the_user_cannot_reach(closed):
    with Helper() as helper:
        path = Path(getattr(helper, closed))
        path.chmod(0o700)
        with Commanded([*AS_NOBODY, sys.executable, "-c", HOLDS], EAGER, helper.socket) as program:
            program.wait_output("up")
            assert explain(helper, program)[:2] == (1, {"helper"})
            assert f"{'may not write' if closed == 'socket' else 'may not search the folder ' + str(path)}" in explained(program)


def test_helper_in_a_pid_namespace_without_its_clients():
    """It has no numbers for them: no session, plain TCP, and one line in its log."""
    class Contained(Helper):
        prefix = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")

        def stop(self, timeout=10):
            self.kill()  # unshare, and with it the helper

    with Contained() as helper:
        for _ in range(2):
            assert run([sys.executable, "-c", CONNECTED_PAIR + "connected_pair()\nprint('{}')"], EAGER, helper.socket) == {}
        assert helper.status()["refusals"]["pid-namespace"] >= 2, helper.explain()
        assert helper.totals()["sockets_joined"] == 0, helper.explain()
        assert helper.log.count("a process of a PID namespace") == 1, helper.log
