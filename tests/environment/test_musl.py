# SPDX-License-Identifier: BSD-2-Clause
"""musl programs: the library that glibc programs get serves them too, as does the one that musl's own compiler makes.

talk-musl and padding are built with musl-gcc, dynamically. A library that needed a symbol that musl lacks would end them at the
start ("Error relocating ..."), children of an accelerated program included.
"""
import subprocess

import pytest
from support.apps import Commanded
from support.program import BUILD, EAGER, PLAIN, Program, auto, built, run
from support.proof import proved

TURNS = 250
TIMEOUT_S = 20
TALKS = {"glibc": "environment/talk", "musl": "environment/talk-musl"}
PAIRS = [("musl", "musl"), ("musl", "glibc"), ("glibc", "musl")]
LIBRARIES = {"the-library": BUILD / "libsmaccel.so", "made-with-musl-gcc": BUILD / "musl" / "libsmaccel.so"}


def test_programs_are_what_they_are_called():
    for libc, name in TALKS.items():
        headers = subprocess.run(["readelf", "-l", built(name)], capture_output=True, text=True, check=True, timeout=10).stdout
        assert ("/ld-musl-" in headers) == (libc == "musl"), headers


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("arm", [EAGER, auto(1)], ids=str)
@pytest.mark.parametrize("server, client", PAIRS)
def test_musl_talks(helper, server, client, arm, library):
    prefix = ["env", f"LD_PRELOAD={LIBRARIES[library]}"]
    with helper.counting() as grown, Commanded([*prefix, built(TALKS[server]), "server"], arm, helper.socket) as running:
        port = running.wait_output("port ")
        seen = run([*prefix, built(TALKS[client]), "client", port, TURNS, "when-redirecting"], arm, helper.socket,
                   timeout=TIMEOUT_S)
        assert seen["turns"] == TURNS
    proved(grown["redirected_bytes"] > 0.5 * 2 * seen["bytes"], lambda: f"{seen} {grown}\n{helper.explain()}")


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("arm", [PLAIN, EAGER, auto(1)], ids=str)
def test_musl_messages_with_padding(helper, arm, library):
    prefix = ["env", f"LD_PRELOAD={LIBRARIES[library]}"] if arm.accelerated else []
    with helper.counting() as grown, Program([*prefix, built("environment/padding")], arm, helper.socket) as program:
        assert program.wait(TIMEOUT_S) == 0 and program.out == "ok\n", program.describe()
    proved(not arm.accelerated or grown["redirected_bytes"] > 0, grown)


def test_smaccel_run_takes_musl_programs(helper):
    prefix = [BUILD / "smaccel", "run", "--profile", "eager", "--socket", helper.socket, "--"]
    with helper.counting() as grown, Commanded([*prefix, built(TALKS["musl"]), "server"], PLAIN, helper.socket) as running:
        port = running.wait_output("port ")
        assert run([*prefix, built(TALKS["musl"]), "client", port, TURNS], PLAIN, helper.socket, timeout=TIMEOUT_S)["turns"] == TURNS
    proved(grown["redirected_bytes"] > 0, grown)
