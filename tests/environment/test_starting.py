# SPDX-License-Identifier: BSD-2-Clause
"""What stands in the way of a helper that starts: it says so and ends, and leaves alone what is not its own."""
import os
import signal
import socket
import subprocess

import pytest
from support.helper import Helper, ensure_bpf_fs
from support.program import BUILD


@pytest.fixture
def place():
    """A helper that is not started: its paths."""
    helper = Helper()
    ensure_bpf_fs()
    yield helper
    helper.remove()


def start(place, *options, timeout=20):
    """Its exit status and what it said; None: it serves (and is ended)."""
    command = [str(BUILD / "smacceld"), "--socket", str(place.socket), "--pin-dir", str(place.pins), *map(str, options)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        said = ""
        signal.alarm(timeout)       # pytest ends: better than to hang
        for line in process.stderr:
            said += line
            if "ready" in line:
                process.terminate()
                break
        status = process.wait()
        signal.alarm(0)
    return (None if "ready" in said else status), said


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
    assert status == 1 and str(folder) in said, said
