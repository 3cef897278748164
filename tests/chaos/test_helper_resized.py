# SPDX-License-Identifier: BSD-2-Clause
"""A helper that starts with another number of slots cannot take over what runs: nobody could pin those pairs any more, and no
kill switch would reach them. So they pass from then on."""
import os
import signal
import subprocess
from pathlib import Path

import pytest
from support.apps import Commanded, wait_until
from support.helper import Helper
from support.namespaces import Netns
from support.program import BUILD, EAGER, built
from support.scale import SCALE

PAIRS = 3
TURNS = 100


def packets(traffic):
    """Of the loopback device in the namespace of the traffic, where nothing else runs."""
    text = Path(f"/proc/{traffic.pid}/net/dev").read_text()
    line = next(line for line in text.splitlines() if line.split()[0] == "lo:")
    return int(line.split()[2])


def packets_of_turns(traffic):
    before = packets(traffic)
    assert traffic.ask(f"turns {TURNS}")["turns"] >= TURNS
    return packets(traffic) - before


def test_what_cannot_be_taken_over_goes_by_tcp():
    with Netns() as netns, Helper("--slots", 64) as helper, \
            Commanded([*netns.prefix, built("chaos/traffic")], EAGER, helper.socket) as traffic:
        traffic.answer(5)
        traffic.ask(f"open {PAIRS}")
        wait_until(lambda: traffic.ask("turns 20") and helper.totals()["pairs_armed"] == PAIRS, 10, helper.explain)
        assert packets_of_turns(traffic) < TURNS, "not redirected: nothing can be seen"
        helper.stop()
        assert packets_of_turns(traffic) < TURNS, "armed pairs run on without a helper"
        helper.options = ["--slots", "128"]
        helper.start()
        assert helper.totals()["pairs_armed"] == 0
        assert packets_of_turns(traffic) >= TURNS, helper.log
        traffic.ask(f"open {PAIRS}")
        wait_until(lambda: traffic.ask("turns 20") and helper.totals()["pairs_armed"] == PAIRS, 10, helper.explain)


def struck(call, how):
    return ["strace", "-D", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{how}"]


# Starts that go wrong, each a bit later than the one before it: no memory for the tables, no connection to try the maps with, no loop
# to listen in. (The first listen() is the data path's own trial, which may fail; the first three epoll_ctl() are not the socket's.)
FAILING = {"no-memory": ["prlimit", "--as=200000000"],
           "no-connection": struck("listen", "error=EADDRINUSE:when=2+"),
           "not-listening": struck("epoll_ctl", "error=ENOSPC:when=4+"),
           "killed": struck("epoll_ctl", "signal=KILL:when=4")}


@pytest.mark.parametrize("kind", FAILING)
def test_a_start_that_fails_leaves_the_pairs_to_the_next(kind):
    with Netns() as netns, Helper("--slots", 64) as helper, \
            Commanded([*netns.prefix, built("chaos/traffic")], EAGER, helper.socket) as traffic:
        traffic.answer(5)
        traffic.ask(f"open {PAIRS}")
        wait_until(lambda: traffic.ask("turns 20") and helper.totals()["pairs_armed"] == PAIRS, 10, helper.explain)
        helper.stop()
        command = [*FAILING[kind], str(BUILD / "smacceld"), "--socket", str(helper.socket), "--pin-dir", str(helper.pins)]
        failed = subprocess.run([*command, "--slots", "200000"], stderr=subprocess.PIPE, text=True, timeout=30)
        assert failed.returncode == (-signal.SIGKILL if kind == "killed" else 1), failed
        assert packets_of_turns(traffic) < TURNS, f"they pass: {failed.stderr}"
        helper.start()
        assert helper.totals()["pairs_armed"] == PAIRS, f"lost: {failed.stderr}\n{helper.explain()}"
        assert packets_of_turns(traffic) < TURNS, helper.explain()


def ss_says(environment):
    return subprocess.run([str(BUILD / "smaccel"), "ss"], env=environment, check=True, timeout=5, stderr=subprocess.PIPE, text=True).stderr


def test_the_kill_switch_stays_set():
    with Helper("--slots", 64) as helper:
        environment = dict(os.environ, SMACCEL_SOCKET=str(helper.socket))
        assert "kill switch" not in ss_says(environment)
        subprocess.run([str(BUILD / "smaccel"), "off"], env=environment, check=True, timeout=5)
        assert "kill switch is set" in ss_says(environment)
        for slots in 64, 128, 256:
            helper.stop()
            helper.options = ["--slots", str(slots)]
            helper.start()
            assert helper.status()["switches"]["off"], slots
        subprocess.run([str(BUILD / "smaccel"), "on"], env=environment, check=True, timeout=5)
        helper.stop()
        helper.options = ["--slots", "64"]
        helper.start()
        assert not helper.status()["switches"]["off"]


def start_struck(helper, injection):
    """A start that strace(1) makes fail at some call, or not at all: then it is ended."""
    # Signals are not injected by a strace that stops it only at the calls in question; errors are.
    stops = [] if ":signal=" in injection else ["--seccomp-bpf"]
    command = ["strace", "-D", "-f", *stops, "-o", "/dev/null", "-e", f"trace={injection.split(':')[0]}", "-e", f"inject={injection}",
               str(BUILD / "smacceld"), "--socket", str(helper.socket), "--pin-dir", str(helper.pins), *helper.options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "smacceld: ready" in line:
                process.terminate()
        return process.wait(20)


NAMES = "/^(unlink|rename)"     # (at): the calls that change what is pinned
STRUCK = {"killed": (f"{NAMES}:signal=KILL:when=%d", range(1, 12, 3 if SCALE == 1 else 1)),
          "no-access": (f"{NAMES}:error=EACCES:when=%d+", range(1, 12, 3 if SCALE == 1 else 2)),
          "no-bpf": ("bpf:error=EPERM:when=%d+", (1, 5, 15, 40) if SCALE == 1 else (1, 5, 9, 15, 25, 40))}


@pytest.mark.parametrize("off, kind", [(True, "killed"), (False, "killed"), (True, "no-access"), (False, "no-access"), (True, "no-bpf")])
def test_a_start_that_fails_leaves_the_switch_as_it_was(off, kind):
    injection, numbers = STRUCK[kind]
    with Helper("--slots", 64) as helper:
        if off:
            environment = dict(os.environ, SMACCEL_SOCKET=str(helper.socket))
            subprocess.run([str(BUILD / "smaccel"), "off"], env=environment, check=True, timeout=5)
        helper.stop()
        failed = 0
        for number in numbers:
            helper.options = ["--slots", str(65 + number)]
            failed += start_struck(helper, injection % number) not in (0, -signal.SIGTERM)
        assert failed > 2, "it was not struck"
        helper.start()
        assert helper.status()["switches"]["off"] == off
