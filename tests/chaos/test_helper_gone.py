# SPDX-License-Identifier: BSD-2-Clause
"""The helper dies, ends, comes back, is switched off and on, in mid-traffic: nobody but the clock can tell."""
import contextlib
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.apps import ACCELERATED, Commanded, fd_count, median, wait_until
from support.helper import Helper
from support.program import BUILD, EAGER, PLAIN, Arm, Program, auto, built
from support.proof import proved
from support.scale import scaled

PAIRS = 6
PAUSE_US = 5000
SWEEP_S = 1.1
CONNECTIONS, TICK_US = scaled(150), 60


def smaccel(helper, *command):
    environment = {"SMACCEL_SOCKET": str(helper.socket)}
    subprocess.run([str(BUILD / "smaccel"), *command], env=environment, check=True, timeout=10)


def armed(helper):
    return helper.totals()["pairs_armed"]


def traffic_grows(traffic, by=200_000):
    """Traffic goes on: waits until that many more bytes went there and back."""
    start = traffic.ask("stat")["bytes"]
    return wait_until(lambda: max(0, traffic.ask("stat")["bytes"] - start - by), 10, traffic.describe)


def start_traffic(helper, traffic):
    traffic.answer(5)
    traffic.ask(f"open {PAIRS}")
    traffic.ask("go")
    wait_until(lambda: armed(helper) == PAIRS, 10, helper.explain)
    traffic_grows(traffic)


@pytest.fixture
def traffic_of():
    """Makes traffic programs; ends them all."""
    programs = []

    def make(arm, helper_socket=None):
        programs.append(Commanded([built("chaos/traffic")], arm, helper_socket))
        return programs[-1]

    yield make
    for program in programs:
        program.end()


def plain_probe_us(traffic_of):
    """What connecting and a first exchange take beside the same traffic, on plain TCP."""
    traffic = traffic_of(PLAIN)
    traffic.answer(5)
    traffic.ask(f"open {PAIRS}")
    traffic.ask("go")
    pause = median(traffic.ask("probe 60")["us"])
    traffic.ask("halt")
    return pause


@pytest.mark.parametrize("end", ["kill", "term"])
@pytest.mark.parametrize("arm", [auto(1), EAGER], ids=str)
def test_helper_gone_and_back(arm, end, traffic_of):
    plain_us = plain_probe_us(traffic_of)
    with Helper() as helper:
        traffic = traffic_of(arm, helper.socket)
        start_traffic(helper, traffic)

        # Gone: what is armed runs on, what is new is plain TCP at once.
        before = helper.totals()
        if end == "kill":
            helper.kill()
        else:
            assert helper.stop() == 0, helper.log
        bytes_at_death = traffic.ask("stat")["bytes"]
        traffic_grows(traffic)
        gone_us = median(traffic.ask("probe 60")["us"])
        assert gone_us <= plain_us + PAUSE_US
        traffic_grows(traffic)
        gone_bytes = traffic.ask("stat")["bytes"] - bytes_at_death

        # Back: the old pairs were redirecting all the while, and still are.
        helper.start()
        back = helper.totals()
        assert back["redirected_bytes"] - before["redirected_bytes"] >= 0.5 * gone_bytes, helper.explain()
        assert back["pairs_armed"] == PAIRS, helper.explain()
        with helper.counting() as grown:
            traffic_grows(traffic)
        proved(grown["redirected_bytes"] > 100_000, helper.explain)

        # And new ones are accelerated again.
        traffic.ask(f"open {PAIRS}")
        wait_until(lambda: armed(helper) == 2 * PAIRS, 10, helper.explain)
        traffic.ask("halt")
        with helper.counting() as grown:
            turns = traffic.ask("turns 20")["turns"]
        proved(grown["redirected_msgs"] >= 1.8 * turns, helper.explain)
        traffic.commands.write("quit\n")
        assert traffic.wait(10) == 0, traffic.describe()
        wait_until(lambda: armed(helper) == 0, 10, helper.explain)


# Turns with the server of environment/talk.c at that port, then sleep.
TURNS = """
import socket, sys
server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for _ in range(400):
    server.sendall(b"0" * 100)
    assert len(server.recv(100, socket.MSG_WAITALL)) == 100
print("ready ", flush=True)
sys.stdin.readline()
"""


def ledgers_of(pid):
    return set(re.findall(r" (\d+) +/memfd:smaccel-ledger", Path(f"/proc/{pid}/maps").read_text()))


def test_next_helpers_ledgers_are_new():
    """What two processes share is of the two of them: a helper's first ledger is not taken for the first one of the helper before."""
    def client():
        return Commanded([sys.executable, "-c", TURNS, port], EAGER, helper.socket)

    with Helper() as helper, Commanded([built("environment/talk"), "server"], EAGER, helper.socket) as server:
        port = server.wait_output("port ")
        with client() as first:
            first.wait_output("ready")
            before = ledgers_of(server.pid)
            assert before and before == ledgers_of(first.pid)
            helper.kill()
            helper.start()
            with client() as second:
                second.wait_output("ready")
                assert ledgers_of(second.pid) and ledgers_of(second.pid) == ledgers_of(server.pid) - before, helper.explain()


@pytest.mark.parametrize("arm", [auto(1), EAGER], ids=str)
def test_helper_killed_again_and_again(arm, traffic_of):
    """Kills at random points of joins and arms; what a dead helper left half done is put right by the next."""
    with Helper() as helper:
        fds_idle = fd_count(helper.pid)
        traffic = traffic_of(arm, helper.socket)
        start_traffic(helper, traffic)
        probing = threading.Thread(target=lambda: [traffic.ask("open 2") and traffic.ask("probe 40") for _ in range(2)])
        probing.start()
        for i in range(3):
            time.sleep(0.02 + 0.03 * i)
            helper.kill()
            time.sleep(0.01 * (i % 3))
            helper.start()
        probing.join(30)
        assert not probing.is_alive()
        traffic_grows(traffic)
        traffic.ask("open 4")
        with helper.counting() as grown:
            traffic_grows(traffic)
        proved(grown["redirected_bytes"] > 0, helper.explain)
        proved(grown["sockets_joined"] > 0 or armed(helper) >= 4, helper.explain)
        traffic.commands.write("quit\n")
        assert traffic.wait(10) == 0, traffic.describe()
        wait_until(lambda: fd_count(helper.pid) <= fds_idle, 5, helper.explain)
        wait_until(lambda: armed(helper) == 0, 10, helper.explain)


def grows(helper, traffic, counter):
    """By how much, while some traffic goes there and back."""
    with helper.counting() as grown:
        traffic_grows(traffic)
    return grown[counter]


@pytest.mark.parametrize("arm", ACCELERATED, ids=str)
def test_off_and_on_in_mid_traffic(arm, traffic_of):
    """Either switch holds for the next message: those that are under way, in threads that may have to wait for a CPU, come first."""
    with Helper() as helper:
        traffic = traffic_of(arm, helper.socket)
        start_traffic(helper, traffic)
        for _ in range(3):
            smaccel(helper, "off")
            wait_until(lambda: grows(helper, traffic, "redirected_msgs") == 0, 5, helper.explain)
            with helper.counting() as grown:
                traffic_grows(traffic)
            assert grown["redirected_msgs"] == 0, helper.explain()
            proved(grown["passed_msgs"] > 0, helper.explain)
            smaccel(helper, "on")
            wait_until(lambda: grows(helper, traffic, "redirected_bytes") > 100_000, 5, helper.explain)
        smaccel(helper, "off")
        traffic.ask("open 3")
        traffic_grows(traffic)
        assert armed(helper) == PAIRS, helper.explain()
        smaccel(helper, "on")
        wait_until(lambda: armed(helper) == PAIRS + 3, 10, helper.explain)
        traffic_grows(traffic)
        traffic.commands.write("quit\n")
        assert traffic.wait(10) == 0, traffic.describe()


@pytest.mark.parametrize("between", ["nothing", "restart"])
def test_what_passed_while_it_was_off_takes_nobody_out(between, traffic_of):
    """The sweep takes out pairs that mostly pass, once a second; a second in which all was off is not such a second."""
    with Helper() as helper:
        traffic = traffic_of(auto(1), helper.socket)
        start_traffic(helper, traffic)
        traffic.ask("halt")
        with helper.counting() as grown:
            for _ in range(3):
                smaccel(helper, "off")
                traffic.ask("go")
                traffic_grows(traffic, 20_000_000)
                traffic.ask("halt")
                smaccel(helper, "on")
                if between == "restart":
                    helper.kill()
                    helper.start()
                time.sleep(SWEEP_S)
        proved(grown["passed_msgs"] > 2 * grown["redirected_msgs"], helper.explain)
        assert armed(helper) == PAIRS and grown["leaves"] == 0, helper.explain()


@pytest.mark.parametrize("arm", [auto(1), EAGER], ids=str)
@pytest.mark.parametrize("between", ["same", "another"])
def test_door_lost_without_a_hang_up(arm, between):
    """A process whose door was closed does not see the helper go. With the next door it finds out whether its session still stands."""
    program = [sys.executable, Path(__file__).with_name("door.py")]
    with Helper() as helper, Commanded(program, arm, helper.socket) as ends:
        ends.answer(5)
        wait_until(lambda: ends.ask("open 2") == {} and armed(helper) >= 2, 10, helper.explain)
        ends.ask("close")
        if between == "another":
            helper.kill()
            helper.start()
        before = armed(helper)
        wait_until(lambda: ends.ask("open 2") == {} and armed(helper) >= before + 2, 10, helper.explain)


@contextlib.contextmanager
def starting_with(number, disposition):
    """A program that is started inside has it, too."""
    before = signal.signal(number, disposition)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=["int", "hup"])
def test_other_signals_end_it_as_sigterm(number):
    with starting_with(number, signal.SIG_DFL), Helper() as helper:
        helper.signal(number)
        assert helper.process.wait(5) == 0, helper.log
        assert not helper.socket.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=["int", "hup"])
def test_a_signal_that_is_ignored_at_its_start_stays_so(number):
    """As for what a script has put into the background, and under nohup. SIGTERM ends it even so."""
    with starting_with(number, signal.SIG_IGN), starting_with(signal.SIGTERM, signal.SIG_IGN), Helper() as helper:
        helper.signal(number)
        helper.totals()  # what came before is served before
        assert helper.process.poll() is None, helper.log
        helper.signal(signal.SIGTERM)
        helper.signal(signal.SIGTERM)
        assert helper.process.wait(5) == 0, helper.log


def test_what_is_blocked_at_its_start_is_not():
    """SIGALRM ends a child of its that takes too long."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    try:
        with Helper() as helper:
            blocked = int(re.search(r"SigBlk:\s*(\S+)", Path(f"/proc/{helper.pid}/status").read_text())[1], 16)
            assert not blocked & 1 << (signal.SIGALRM - 1)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_there_while_handlers_run():
    """A handler that ran while the shim looked whether the helper is there was taken for its end: some 15 sessions for 150 connections."""
    arm = Arm("eager", "eager", {"SMACCEL_LOG": "info"})
    with Helper() as helper, helper.counting() as grown, \
            Program([built("chaos/door_signals"), CONNECTIONS, TICK_US], arm, helper.socket) as program:
        assert program.result(20)["ticks"] > CONNECTIONS, program.describe()
        assert program.err.count("stands") == 1 and "is gone" not in program.err, program.describe()
    proved(grown["pairs_armed_total"] > CONNECTIONS // 2, grown)
