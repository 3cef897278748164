# SPDX-License-Identifier: BSD-2-Clause
"""A helper that starts with another number of slots cannot take over what runs: nobody could pin those pairs any more, and no
kill switch would reach them. So they pass from then on."""
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.apps import Commanded, wait_until
from support.helper import Helper
from support.namespaces import Netns
from support.program import BUILD, EAGER, built
from support.proof import proved
from support.scale import SCALE

PAIRS = 3
PINS = 4
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


def open_pairs(traffic, helper):
    """Until all are armed."""
    traffic.ask(f"open {PAIRS}")
    wait_until(lambda: traffic.ask("turns 20") and helper.totals()["pairs_armed"] == PAIRS, 10, helper.explain)


def test_what_cannot_be_taken_over_goes_by_tcp():
    with Netns() as netns, Helper("--slots", 64) as helper, \
            Commanded([*netns.prefix, built("chaos/traffic")], EAGER, helper.socket) as traffic:
        traffic.answer(5)
        open_pairs(traffic, helper)
        assert packets_of_turns(traffic) < TURNS, "not redirected: nothing can be seen"
        helper.stop()
        assert packets_of_turns(traffic) < TURNS, "armed pairs run on without a helper"
        helper.options = ["--slots", "128"]
        helper.start()
        assert helper.totals()["pairs_armed"] == 0
        assert packets_of_turns(traffic) >= TURNS, helper.log
        open_pairs(traffic, helper)


UNREAD = b"0123456789"

# Two ends of one process, one line an answer: {"errno": of what failed}, or {}.
ENDS = f"""
import json, os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
near = socket.create_connection(listener.getsockname())
far = listener.accept()[0]
def turns():
    for _ in range(20):
        near.sendall(b"there")
        far.recv(64)
def urgent():
    near.send(b"!", socket.MSG_OOB)
    os.sched_yield()
    far.recv(1, socket.MSG_OOB)
def rest():
    assert far.recv(100) == {UNREAD}
commands = {{"turns": turns, "send": lambda: near.sendall({UNREAD}), "urgent": urgent, "rest": rest,
            "lowat": lambda: far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 200)}}
for line in sys.stdin:
    said = {{}}
    try:
        commands[line.strip()]()
    except OSError as error:
        said["errno"] = error.errno
    print(json.dumps(said), flush=True)
"""


@pytest.mark.parametrize("slots", [64, 128], ids=["same", "resized"])
def test_what_was_redirected_and_is_unread_is_not_plain_tcp(slots):
    """Though the next helper knows nothing of it: the socket is in the sockhash of the one before."""
    with Helper("--slots", 64) as helper, Commanded([sys.executable, "-c", ENDS], EAGER, helper.socket) as ends:
        wait_until(lambda: ends.ask("turns") == {} and helper.totals()["pairs_armed"] == 1, 20, helper.explain)
        ends.ask("turns")
        with helper.counting() as grown:
            ends.ask("send")
        proved(grown["redirected_bytes"] == len(UNREAD), helper.explain)
        helper.stop()
        helper.options = ["--slots", str(slots)]
        helper.start()
        said = [ends.ask(call).get("errno") for call in ("lowat", "urgent", "rest")]
        # Which error depends on how soon a busy helper answers: ENOPROTOOPT, EAGAIN.
        assert said[0] and said[1] and not said[2], (said, helper.explain())


def struck(helper, how):
    """Environment and arguments of a start at which some call fails, or ends it (striking.c)."""
    command = [str(BUILD / "smacceld"), "--socket", str(helper.socket), "--pin-dir", str(helper.pins)]
    return dict(os.environ, LD_PRELOAD=built("chaos/striking.so"), STRIKE=how), command


# Starts that go wrong, each a bit later than the one before it: no memory for the tables, no connection to try the maps with, no loop
# to listen in, and the last two steps. (The first listen() is the data path's own trial, which may fail; the first three epoll_ctl() are
# not the socket's.)
FAILING = {"no-memory": None, "no-connection": f"listen:{errno.EADDRINUSE}:2", "not-listening": f"epoll_ctl:{errno.ENOSPC}:4",
           "killed": "epoll_ctl:kill:4", "no-privileges": f"prctl:{errno.EPERM}:1", "killed-late": "prctl:kill:1",
           "no-watchdog": f"threads:{errno.EAGAIN}:1"}


@pytest.mark.parametrize("kind", FAILING)
def test_a_start_that_fails_leaves_the_pairs_to_the_next(kind):
    with Netns() as netns, Helper("--slots", 64) as helper, \
            Commanded([*netns.prefix, built("chaos/traffic")], EAGER, helper.socket) as traffic:
        traffic.answer(5)
        open_pairs(traffic, helper)
        helper.stop()
        environment, command = struck(helper, FAILING[kind] or "none:0:1")
        few = [] if FAILING[kind] else ["prlimit", "--as=200000000"]
        failed = subprocess.run([*few, *command, "--slots", "200000"], env=environment, stderr=subprocess.PIPE, text=True, timeout=30)
        assert failed.returncode == (-signal.SIGKILL if "killed" in kind else 1), failed
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


def start_struck(helper, how):
    """A start that is struck, or not, if it makes fewer such calls: then it is ended."""
    environment, command = struck(helper, how)
    with subprocess.Popen([*command, *helper.options], env=environment, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "smacceld: ready" in line:
                process.terminate()
        return process.wait(20)


NAMES = 13      # calls of a start that give names to what is pinned, or take them: the first and the last are of the old switches
STEP = 2 if SCALE == 1 else 1
STRUCK = {("killed", True): ("names:kill:%d", range(1, NAMES + 1, STEP)), ("killed", False): ("names:kill:%d", range(2, NAMES + 1, STEP)),
          ("no-access", True): (f"names:{errno.EACCES}:%d", range(2, NAMES + 1, STEP)),
          ("no-access", False): (f"names:{errno.EACCES}:%d", range(1, NAMES + 1, STEP)),
          ("no-bpf", True): (f"bpf:{errno.EPERM}:%d", (1, 5, 15, 40) if SCALE == 1 else (1, 5, 9, 15, 25, 40))}


@pytest.mark.parametrize("kind, off", STRUCK)
def test_a_start_that_fails_leaves_the_switch_as_it_was(kind, off):
    how, numbers = STRUCK[kind, off]
    with Helper("--slots", 64) as helper:
        if off:
            environment = dict(os.environ, SMACCEL_SOCKET=str(helper.socket))
            subprocess.run([str(BUILD / "smaccel"), "off"], env=environment, check=True, timeout=5)
        helper.stop()
        failed = 0
        for number in numbers:
            helper.options = ["--slots", str(65 + number)]
            failed += start_struck(helper, how % number) not in (0, -signal.SIGTERM)
        assert failed > 2, "it was not struck"
        helper.start()
        assert helper.status()["switches"]["off"] == off
        assert not any(name.endswith("_new") for name in os.listdir(helper.pins)), "left over"


def test_a_start_that_is_killed_before_its_last_name_is_not_taken_over():
    """Its maps have all their names but one by then, and what is under that one is the old one's, which fits as well."""
    with Netns() as netns, Helper("--slots", 64) as helper, \
            Commanded([*netns.prefix, built("chaos/traffic")], EAGER, helper.socket) as traffic:
        traffic.answer(5)
        open_pairs(traffic, helper)
        helper.stop()
        helper.options = ["--slots", "128"]
        assert start_struck(helper, f"names:kill:{NAMES - 1}") == -signal.SIGKILL
        assert packets_of_turns(traffic) < TURNS, "not redirected: nothing can be seen"
        helper.start()
        assert packets_of_turns(traffic) >= TURNS, helper.log
        assert not any(name.endswith("_new") for name in os.listdir(helper.pins)), "left over"


def test_a_start_that_is_killed_leaves_no_names_behind():
    """Just before its end, when a start with the same number of slots takes over what there is."""
    with Helper("--slots", 64) as helper:
        for number in range(NAMES, NAMES + 3):
            helper.stop()
            helper.options = ["--slots", str(65 + number)]
            if start_struck(helper, f"names:kill:{number}") in (0, -signal.SIGTERM):
                break
            helper.start()
            assert len(os.listdir(helper.pins)) == PINS, (number, os.listdir(helper.pins))
        assert number == NAMES + 1, "other calls than expected"
