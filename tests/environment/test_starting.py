# SPDX-License-Identifier: BSD-2-Clause
"""What stands in the way of a helper that starts: it says so and ends, and leaves alone what is not its own."""
import os
import resource
import signal
import socket
import subprocess

import pytest
from support.helper import Helper
from support.program import BUILD, EAGER, Program, built, run
from support.proof import proved

READY = "smacceld: ready"


def start(place, *options, timeout=20):
    """Its exit status and what it said; None: it serves (and is ended)."""
    command = [str(BUILD / "smacceld"), "--socket", str(place.socket), "--pin-dir", str(place.pins), *map(str, options)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        said = ""
        signal.alarm(timeout)       # pytest ends: better than to hang
        for line in process.stderr:
            said += line
            if READY in line:
                process.terminate()
                break
        status = process.wait()
        signal.alarm(0)
    return (None if READY in said else status), said


def test_pins_of_other_programs_stay(place):
    """The root of the file system is no folder of one helper's own."""
    said = subprocess.run([str(BUILD / "smacceld"), "--socket", str(place.directory / "s"), "--pin-dir", "/sys/fs/bpf"],
                          stderr=subprocess.PIPE, text=True, timeout=20)
    assert said.returncode == 1 and "choose a folder of its own" in said.stderr, said


def test_socket_group_by_number(place):
    place.options = ["--socket-group", "54321", "--socket-mode", "660"]
    with place:
        facts = os.stat(place.socket)
        assert facts.st_gid == 54321 and facts.st_mode & 0o777 == 0o660, facts


def switch_off(socket_path):
    environment = dict(os.environ, SMACCEL_SOCKET=str(socket_path))
    subprocess.run([str(BUILD / "smaccel"), "off"], env=environment, check=True, timeout=5)


def test_one_of_two_that_start_at_once(place):
    """With the same maps, which are not there yet. The other one ends, and the pins are the first one's."""
    sockets = [place.directory / name for name in "ab"]
    processes = [subprocess.Popen([str(BUILD / "smacceld"), "--socket", str(path), "--pin-dir", str(place.pins)],
                                  stderr=subprocess.PIPE, text=True) for path in sockets]
    said = ["", ""]
    try:
        signal.alarm(20)
        for i, process in enumerate(processes):
            for line in process.stderr:
                said[i] += line
                if READY in line:
                    break
        served = [i for i in range(2) if READY in said[i]]
        assert len(served) == 1 and "another smacceld uses" in said[1 - served[0]], said
        switch_off(sockets[served[0]])
    finally:
        for process in processes:
            process.terminate()
            process.communicate(timeout=10)
        signal.alarm(0)
    with place:     # takes over what is pinned
        assert place.status()["switches"]["off"]


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["stream", "datagram"])
def test_another_programs_socket_stays(place, kind):
    with socket.socket(socket.AF_UNIX, kind) as service, socket.socket(socket.AF_UNIX, kind) as client:
        service.bind(str(place.socket))
        if kind == socket.SOCK_STREAM:
            service.listen()
        status, said = start(place)
        assert status == 1 and "another program" in said, said
        client.connect(str(place.socket))


def test_a_socket_that_nobody_serves_is_replaced(place):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left_over:
        left_over.bind(str(place.socket))
    status, said = start(place)
    assert status is None, said


def test_a_file_stays(place):
    place.socket.write_text("precious")
    status, said = start(place)
    assert status == 1 and "not a socket" in said, said
    assert place.socket.read_text() == "precious"


def test_settings_that_cannot_be_read(place):
    """A folder can be opened, and every read of it fails: not the same as a file without settings."""
    folder = place.directory / "settings"
    os.mkdir(folder)
    status, said = start(place, "--config", folder)
    assert status == 2 and str(folder) in said, said


def test_a_limit_of_file_size_is_raised():
    """What clients share with the helper is files: a client's first word would be its end (SIGXFSZ)."""
    class Limited(Helper):
        prefix = ("prlimit", "--fsize=4096:unlimited")

    with Limited() as limited:
        with limited.counting() as grown:
            run([built("conformance/exchange"), "both", "connections=2", "turns=20", "close=fin", "deadline=20"], EAGER, limited.socket,
                timeout=30)
        proved(grown["redirected_bytes"] > 0, limited.explain)


def test_smaccels_own_programs_stay_plain(helper):
    """Where the library comes from /etc/ld.so.preload: what they try the kernel with must not join a helper that runs already."""
    with Program([BUILD / "smaccel", "probe"], EAGER, helper.socket) as probe:
        assert probe.wait(40) == 0, probe.describe()
    second = Helper()
    second.prefix = ["env", *(f"{name}={value}" for name, value in EAGER.environment(helper.socket).items() if name.startswith(("LD_", "SMACCEL_")))]
    with second:
        assert helper.totals()["sockets_joined"] == 0, helper.explain()


def say(path, file_bytes):
    """A program that ends at once, and whose shim has an error to tell; files may become so large."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))     # noqa: E731
    return subprocess.run(["true"], env=dict(os.environ, LD_PRELOAD=str(BUILD / "libsmaccel.so"), SMACCEL_ADMIT="?",
                                             SMACCEL_LOG=f"error:{path}"), preexec_fn=limit, timeout=10).returncode


def test_a_log_that_takes_no_line_is_no_harm(tmp_path):
    """A FIFO that nobody reads, and a file that may not grow: beyond RLIMIT_FSIZE there is a signal, which ends the program."""
    log = tmp_path / "log"
    os.mkfifo(tmp_path / "fifo")
    assert say(tmp_path / "fifo", resource.RLIM_INFINITY) == 0
    assert say(log, 1 << 20) == 0 and "SMACCEL_ADMIT=? is not" in log.read_text()
    written = log.read_bytes()
    for limit in 0, 1, len(written), len(written) + 1:
        assert say(log, limit) == 0, limit
    assert log.read_bytes() == written
    with log.open("a") as error:
        for limit in 0, len(written):
            command = ["prlimit", f"--fsize={limit}", "true"]
            environment = dict(os.environ, LD_PRELOAD=str(BUILD / "libsmaccel.so"), SMACCEL_ADMIT="?", SMACCEL_LOG="error")
            assert subprocess.run(command, env=environment, stderr=error, timeout=10).returncode == 0, limit
