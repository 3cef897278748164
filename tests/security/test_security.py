# SPDX-License-Identifier: BSD-2-Clause
"""The helper's socket is open to every local user: what that gives an unprivileged one, and what it does not."""
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.apps import NOBODY, Commanded, fd_count, ss_rows, wait_until
from support.helper import Helper
from support.program import BUILD, EAGER, PLAIN, Program, auto, built
from support.proof import proved

PAIRS = 4


@pytest.fixture(scope="module")
def public():
    """A folder that every user can enter, with copies of what is under test."""
    folder = Path(tempfile.mkdtemp(prefix="smaccel-public-"))
    folder.chmod(0o755)
    for path in (BUILD / "libsmaccel.so", BUILD / "smaccel", Path(built("chaos/traffic"))):
        shutil.copy(path, folder)
        (folder / path.name).chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def as_nobody(public, helper, arm, *argv):
    return [*NOBODY, "env", f"LD_PRELOAD={public}/libsmaccel.so", f"SMACCEL_SOCKET={helper.socket}",
            f"SMACCEL_ADMIT={arm.admit}", *argv]


def test_the_folder_that_is_made_for_the_socket_is_open_whatever_the_umask():
    helper = Helper()
    helper.socket = helper.directory / "new" / "s"
    before = os.umask(0o077)
    try:
        with helper:
            assert stat.S_IMODE(helper.socket.parent.stat().st_mode) == 0o755
    finally:
        os.umask(before)


def cli_of_nobody(public, helper, *command):
    return subprocess.run([*NOBODY, str(public / "smaccel"), *command], capture_output=True, text=True, timeout=10,
                          env={"SMACCEL_SOCKET": str(helper.socket), "PATH": os.environ["PATH"]})


def traffic_of_nobody(public, helper, arm):
    return Commanded(as_nobody(public, helper, arm, public / "traffic"))


def serving(arm, helper):
    """It takes no commands: ended at once, not 2 s after their end."""
    return Program([built("chaos/traffic"), "serve"], arm, helper.socket)


def armed(helper):
    return helper.totals()["pairs_armed"]


@pytest.mark.parametrize("arm", [auto(1), EAGER], ids=str)
def test_nobody_is_accelerated(helper, public, arm):
    with traffic_of_nobody(public, helper, arm) as traffic:
        process = traffic.answer(20)
        assert os.stat(f"/proc/{process['client']}").st_uid == 65534
        traffic.ask(f"open {PAIRS}")
        traffic.ask("turns 20")
        wait_until(lambda: traffic.ask("turns 20") and armed(helper) == PAIRS, 10, helper.explain)
        with helper.counting() as grown:
            turns = traffic.ask("turns 50")["turns"]
        proved(grown["redirected_msgs"] >= 1.9 * turns, helper.explain)


@pytest.mark.parametrize("arm", [auto(1), EAGER], ids=str)
def test_ends_of_two_users_are_accelerated(helper, public, arm):
    """What a daemon and its clients are: two users, one connection. Proved by facts, whoever asks."""
    with serving(arm, helper) as server:
        port = json.loads(server.wait_output("", 20))["port"]
        with Commanded(as_nobody(public, helper, arm, public / "traffic", "connect", port)) as traffic:
            traffic.answer(20)
            traffic.ask(f"open {PAIRS}")
            traffic.ask("turns 20")
            wait_until(lambda: traffic.ask("turns 20") and armed(helper) == PAIRS, 10, helper.explain)
            with helper.counting() as grown:
                turns = traffic.ask("turns 50")["turns"]
            proved(grown["redirected_msgs"] >= 1.9 * turns, helper.explain)


@pytest.mark.parametrize("shimmed", ["server", "client"])
@pytest.mark.parametrize("arm", [auto(1), EAGER], ids=str)
def test_one_end_alone_stays_on_tcp(helper, arm, shimmed):
    """The other end knows nothing of smaccel: right bytes, nothing armed."""
    arms = (arm, PLAIN) if shimmed == "server" else (PLAIN, arm)
    with helper.counting() as grown, serving(arms[0], helper) as server:
        port = json.loads(server.wait_output("", 20))["port"]
        with Commanded([built("chaos/traffic"), "connect", port], arms[1], helper.socket) as traffic:
            traffic.answer(20)
            traffic.ask(f"open {PAIRS}")
            traffic.ask("turns 100")
    assert grown["pairs_armed_total"] == 0 and grown["redirected_msgs"] == 0, helper.explain()


def test_nobody_sees_own_rows_only(helper, public):
    with Commanded([built("chaos/traffic")], EAGER, helper.socket) as root_traffic:
        with traffic_of_nobody(public, helper, EAGER) as traffic:
            own, roots = traffic.answer(20), root_traffic.answer(5)
            for one in (traffic, root_traffic):
                one.ask(f"open {PAIRS}")
                one.ask("turns 20")
            wait_until(lambda: traffic.ask("turns 20") and root_traffic.ask("turns 20") and armed(helper) == 2 * PAIRS,
                       10, helper.explain)
            seen = cli_of_nobody(public, helper, "ss", "--json")
            assert seen.returncode == 0, seen.stderr
            rows = json.loads(seen.stdout)
            rows = rows if isinstance(rows, list) else rows["connections"]
            assert len(rows) == 2 * PAIRS, rows
            assert {row["pid"] for row in rows} == {own["client"], own["server"]}, rows
            assert {row["pid"] for row in ss_rows(helper)} == {*own.values(), *roots.values()}


def test_nobody_may_ask_for_status(helper, public):
    seen = cli_of_nobody(public, helper, "status", "--json")
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout)["helper"]["pid"] == helper.pid


def switch(helper, command):
    environment = {"SMACCEL_SOCKET": str(helper.socket)}
    subprocess.run([str(BUILD / "smaccel"), command], env=environment, check=True, timeout=5)


@pytest.mark.parametrize("command", ["off", "on"])
def test_nobody_may_not_switch(helper, public, command):
    with Commanded([built("chaos/traffic")], EAGER, helper.socket) as traffic:
        traffic.answer(20)
        traffic.ask(f"open {PAIRS}")
        wait_until(lambda: traffic.ask("turns 20") and armed(helper) == PAIRS, 10, helper.explain)
        if command == "on":
            switch(helper, "off")
        seen = cli_of_nobody(public, helper, command)
        assert seen.returncode != 0 and seen.stderr, seen
        with helper.counting() as grown:
            traffic.ask("turns 20")
        assert (grown["redirected_msgs"] > 0) == (command == "off"), helper.explain()
        switch(helper, "on")


def request_of(command, folder):
    """The message that the command line sends for it, as it comes to a socket of ours."""
    path = folder / "listening"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(5)
        with Program(["env", f"SMACCEL_SOCKET={path}", BUILD / "smaccel", command]), listener.accept()[0] as door:
            return door.recv(4096)


def door_of_nobody(helper):
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
            door.connect(str(helper.socket))
            socket.send_fds(theirs, [b"x"], [door.fileno()])
        os._exit(0)
    fds = socket.recv_fds(ours, 1, 1)[1]
    assert os.waitpid(child, 0)[1] == 0
    ours.close()
    theirs.close()
    return socket.socket(fileno=fds[0])


def test_who_is_made_to_write_for_somebody_does_not_ask_with_own_rights(helper, tmp_path):
    """A privileged program whose standard output is a door that nobody has opened."""
    request = request_of("off", tmp_path)
    with door_of_nobody(helper) as door:
        door.settimeout(5)
        subprocess.run(["cat"], input=request, stdout=door.fileno(), check=True, timeout=5)
        assert door.recv(4096)  # the answer
    assert not helper.status()["switches"]["off"]


def capabilities(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line.split(":")[0]: line.split(":")[1].strip() for line in lines}


def test_helper_dropped_its_privileges(helper):
    """After its start it may hold what BPF and namespaces need, never what rules the machine."""
    status = capabilities(helper.pid)
    effective = int(status["CapEff"], 16)
    for name, bit in {"sys_module": 16, "sys_rawio": 17, "sys_boot": 22, "dac_override": 1, "setuid": 7,
                      "sys_admin": 21, "chown": 0, "mknod": 27}.items():
        assert not effective >> bit & 1, f"CAP_{name.upper()} is left: {status['CapEff']}"
    assert int(status["CapBnd"], 16) == effective or status["NoNewPrivs"] == "1", status
    assert status["Seccomp"] == "2", status


def test_hostile_clients_hurt_nobody(public):
    """hostile_client sends what no shim would; an honest program beside it must not notice."""
    program = Path(built("security/hostile_client"))
    shutil.copy(program, public)
    (public / program.name).chmod(0o755)
    with Helper() as helper, Commanded([built("chaos/traffic")], EAGER, helper.socket) as traffic:
        traffic.answer(20)
        traffic.ask(f"open {PAIRS}")
        wait_until(lambda: traffic.ask("turns 20") and armed(helper) == PAIRS, 10, helper.explain)
        fds_before = fd_count(helper.pid)
        traffic.ask("go")
        with Program([*NOBODY, public / program.name, helper.socket]) as hostile:
            assert hostile.wait(40) == 0, hostile.describe()
        traffic.ask("halt")
        assert helper.process.poll() is None, helper.log
        with helper.counting() as grown:
            turns = traffic.ask("turns 20")["turns"]
        proved(grown["redirected_msgs"] >= 1.9 * turns, helper.explain)
        assert armed(helper) == PAIRS, helper.explain()
        wait_until(lambda: fd_count(helper.pid) <= fds_before, 5, helper.explain)
        traffic.ask("open 2")
        traffic.ask("turns 5")
        wait_until(lambda: traffic.ask("turns 20") and armed(helper) == PAIRS + 2, 10, helper.explain)


def test_who_says_that_he_closed_what_he_joins():
    """While there is no slot left, which makes the helper look what has been closed."""
    with Helper("--slots", 1, "--lonely-ms", 3600000) as helper, Program([built("security/closed_in_join"), helper.socket]) as joining:
        status = joining.wait(25)
        assert helper.process.poll() is None, (helper.process.poll(), helper.log)
        assert status == 0, joining.describe()
        proved("noticed 0" not in joining.out, joining.describe)
        assert helper.totals()["sockets_joined_now"] <= 1, helper.explain()


def test_reasons_that_only_the_helper_has(helper):
    with Program([built("security/forged_reasons"), helper.socket]) as forged:
        assert forged.wait(25) == 0, forged.describe()


def test_many_silent_clients_leave_room(helper, public):
    """A user who opens doors and says nothing meets a quota of his own; others still get in."""
    script = ("import socket, sys\n"
              "doors = []\n"
              "try:\n"
              "    for _ in range(600):\n"
              "        door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
              "        door.settimeout(2)\n"
              "        door.connect(sys.argv[1])\n"
              "        doors.append(door)\n"
              "except OSError:\n"
              "    pass\n"
              "print('open', len(doors), flush=True)\n"
              "sys.stdin.read()\n")
    read_end, write_end = os.pipe()
    with Program([*NOBODY, sys.executable, "-c", script, helper.socket], stdin=read_end) as silent:
        os.close(read_end)
        silent.wait_output("open", 20)
        with Commanded([built("chaos/traffic")], EAGER, helper.socket) as traffic:
            traffic.answer(20)
            traffic.ask(f"open {PAIRS}")
            # Turn by turn: where the helper answered later than the shim waits, the ends come again after some.
            wait_until(lambda: traffic.ask("turns 20") and armed(helper) == PAIRS, 10, helper.explain)
        os.close(write_end)
        silent.wait(5)


def test_an_fd_that_is_no_connection_is_refused(helper):
    """A raw client that hands over rubbish: the helper stays, and keeps none of it."""
    fds_before = fd_count(helper.pid)
    for make in (lambda: os.open("/dev/null", os.O_RDONLY), lambda: os.open("/proc/self/mem", os.O_RDONLY),
                 lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach(),
                 lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).detach()):
        rubbish = make()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
            door.connect(str(helper.socket))
            for size in (0, 1, 15, 16, 32, 48, 255, 256, 257, 4096):
                try:
                    socket.send_fds(door, [b"\x73\x6d" + b"\x01" * (size - 2) if size > 2 else b"x" * size], [rubbish])
                except OSError:
                    break
        os.close(rubbish)
    wait_until(lambda: fd_count(helper.pid) <= fds_before, 5, helper.explain)
    assert helper.status()["helper"]["pid"] == helper.pid
