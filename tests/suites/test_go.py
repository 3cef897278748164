# SPDX-License-Identifier: BSD-2-Clause
"""Go, whose runtime makes its system calls itself: no wrapper is called, with the shim in the process (a program that links libc) or
without it (a static one). Its peer in Python is under the shim: all stays plain TCP, and `smaccel ss` says why.
"""
import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.program import BUILD, EAGER, auto

HERE = Path(__file__).parent
SIZE = 64 << 20
# Of an end whose peer never comes.
REASONS = {"waiting-for-peer", "lonely", "watching", "joined"}


def build(stage, cgo):
    program = stage.directory / "go_peer"
    environment = {"CGO_ENABLED": cgo, "GO111MODULE": "off", "GOPROXY": "off", "GOFLAGS": "", "HOME": stage.directory,
                   "GOCACHE": stage.directory / "cache", "LD_PRELOAD": ""}
    stage.run("go", "build", "-o", program, HERE / "go_peer.go", env=environment, timeout=300)
    return program


def programs_of(stage, cgo):
    return {"go": [build(stage, cgo)], "python": [sys.executable, HERE / "peer.py"]}


def check_rows(stage, pid):
    """The end of the connection that is held, as the helper knows it."""
    shown = subprocess.run([BUILD / "smaccel", "ss", "--json", f"--socket={stage.helper_socket}"], check=True, capture_output=True, timeout=15)
    rows = [row for row in json.loads(shown.stdout)["connections"] if row["pid"] == pid]
    assert rows, shown.stdout
    assert {row["state"] for row in rows}.isdisjoint({"armed"}) and {row["reason"] for row in rows} <= REASONS, rows


def talked(server, cgo, size):
    def workload(stage):
        programs = programs_of(stage, cgo)
        serving = stage.start(*programs[server], "server")
        port = serving.wait_output("port ")
        client = "python" if server == "go" else "go"
        release = stage.directory / "release"
        asking = stage.start(*programs[client], "client", port, size, release)
        asking.wait_output("held", 120)
        if stage.accelerated:
            here = serving if server == "python" else asking
            other = asking if here is serving else serving
            assert ("/libsmaccel.so" in Path(f"/proc/{other.pid}/maps").read_text()) == (cgo == 1)
            check_rows(stage, here.pid)
        release.touch()
        return asking.result(60)
    return workload


@pytest.mark.long
@pytest.mark.parametrize("arm", [EAGER, auto(1)], ids=str)
@pytest.mark.parametrize("cgo", [0, 1], ids=["static", "dynamic"])
@pytest.mark.parametrize("server", ["go", "python"])
def test_go(compare, helper, server, cgo, arm):
    with helper.counting() as grown:
        seen = compare(talked(server, cgo, SIZE), redirected=0, arms=(arm,))
    assert seen["put"] == seen["get"] == seen["both"][0] == seen["both"][1] and seen["put"].endswith(f" {SIZE}"), seen
    assert grown["redirected_bytes"] == 0 and grown["pairs_armed_total"] == 0, grown
