# SPDX-License-Identifier: BSD-2-Clause
"""The helper is stopped (SIGSTOP): one bounded wait a process, nothing joins late, and close() is FIN all the same."""
import contextlib
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from support.apps import ACCELERATED, Commanded, median, ss_rows, wait_until
from support.helper import Helper
from support.program import EAGER, PLAIN, Program, built
from support.proof import proved
from support.scale import scaled

BOUND_US = 50_000  # how long a join may wait for the helper
SLACK_US = 40_000  # scheduling; timed_calls.c takes off what the machine stood still
FIN_US = 5_000


@contextlib.contextmanager
def calls_of(arm, helper_socket=None):
    with Commanded([built("chaos/timed_calls")], arm, helper_socket) as calls:
        calls.answer(5)
        yield calls


def assert_one_timeout(calls):
    """At most one call of each process was held up, and not beyond the bound."""
    seen = calls.ask("calls")
    for process in ("client", "server"):
        assert seen[process]["long_calls"] <= 1, seen
        assert seen[process]["worst_us"] <= BOUND_US + SLACK_US, seen
    return seen


def joined(helper):
    return sum(row["state"] in ("joined", "armed", "joining") for row in ss_rows(helper))


def assert_nothing_joins_late(helper, calls, rows):
    """With no traffic at all, whatever joins now is a request of the time when the helper was stopped."""
    helper.signal(signal.SIGCONT)
    before = helper.totals()
    time.sleep(0.3)
    after = helper.totals()
    assert after["sockets_joined"] <= before["sockets_joined"], helper.explain()
    assert after["pairs_armed"] <= before["pairs_armed"], helper.explain()
    assert joined(helper) <= rows, ss_rows(helper)
    calls.ask("turns 10")


def plain_fin_us():
    with calls_of(PLAIN) as calls:
        calls.ask("open 30 5")
        return median(calls.ask("close")["us"])


@pytest.mark.parametrize("arm", ACCELERATED, ids=str)
def test_stopped_before_the_program_starts(arm):
    with Helper() as helper:
        helper.signal(signal.SIGSTOP)
        with calls_of(arm, helper.socket) as calls:
            calls.ask("open 40 20")
            assert_one_timeout(calls)
            assert_nothing_joins_late(helper, calls, 0)


@pytest.mark.parametrize("arm", ACCELERATED, ids=str)
def test_stopped_in_mid_traffic(arm):
    with Helper() as helper, calls_of(arm, helper.socket) as calls:
        calls.ask("open 5 30")
        wait_until(lambda: calls.ask("turns 30") and helper.totals()["pairs_armed"] == 5, 10, helper.explain)
        rows = joined(helper)
        calls.ask("calls")
        helper.signal(signal.SIGSTOP)
        with_armed = calls.ask("turns 30") and calls.ask("calls")
        assert with_armed["client"]["long_calls"] == with_armed["server"]["long_calls"] == 0, with_armed
        calls.ask("open 40 20")
        assert_one_timeout(calls)
        assert_nothing_joins_late(helper, calls, rows)


@pytest.mark.parametrize("arm", ACCELERATED, ids=str)
def test_stopped_close_gives_fin(arm):
    plain_us = plain_fin_us()
    with Helper() as helper, calls_of(arm, helper.socket) as calls:
        calls.ask("open 10 30")
        wait_until(lambda: calls.ask("turns 30") and helper.totals()["pairs_armed"] == 10, 10, helper.explain)
        helper.signal(signal.SIGSTOP)
        calls.ask("open 20 20")
        fins = calls.ask("close")["us"]
        helper.signal(signal.SIGCONT)
        assert median(fins) <= plain_us + FIN_US, fins
        assert max(fins) <= BOUND_US + SLACK_US, fins
        wait_until(lambda: helper.totals()["pairs_armed"] == 0, 5, helper.explain)


@contextlib.contextmanager
def stopping_at_random(helper, stopped_s):
    """Stops and continues the helper; yields a list that grows by one for each stop. It runs again afterwards."""
    generator, ended, stops = random.Random(1), threading.Event(), []

    def flip():
        while not ended.is_set():
            stops.append(time.monotonic())
            helper.signal(signal.SIGSTOP)
            ended.wait(generator.uniform(*stopped_s))
            helper.signal(signal.SIGCONT)
            ended.wait(generator.uniform(0.001, 0.03))

    flipping = threading.Thread(target=flip)
    flipping.start()
    try:
        yield stops
    finally:
        ended.set()
        flipping.join()


@pytest.mark.parametrize("arm", ACCELERATED, ids=str)
def test_stopped_at_random_moments_calls_are_bounded(arm):
    """Joins under way in every state; a process pays at most once for each time that the helper falls silent."""
    with Helper() as helper, calls_of(arm, helper.socket) as calls:
        with stopping_at_random(helper, (0.06, 0.15)) as stops:
            for _ in range(6):
                calls.ask("open 60 12", 30)
        seen = calls.ask("calls")
        for process in ("client", "server"):
            assert seen[process]["long_calls"] <= len(stops), seen
            assert seen[process]["worst_us"] <= BOUND_US + SLACK_US, seen
        calls.ask("turns 20", 30)
        calls.ask("close", 30)
        wait_until(lambda: helper.totals()["pairs_armed"] == 0 and joined(helper) == 0, 10, helper.explain)


@pytest.mark.parametrize("arm", ACCELERATED, ids=str)
def test_stopped_at_random_moments_close_gives_fin(arm):
    """Each round has a join in flight, or not, when another thread closes the fd."""
    with Helper() as helper:
        with stopping_at_random(helper, (0.001, 0.12)), \
                Program([built("chaos/close_race"), scaled(60), 20000], arm, helper.socket) as race:
            fins = race.result(60)["us"]
        assert median(fins) <= FIN_US, sorted(fins)
        assert sorted(fins)[len(fins) * 9 // 10] <= BOUND_US + SLACK_US, sorted(fins)
        assert helper.process.poll() is None, helper.log


@pytest.mark.parametrize("arm", ACCELERATED, ids=str)
def test_stopped_with_a_full_backlog(arm):
    """A blocking connect() to a helper whose backlog is full would never return."""
    with Helper() as helper, contextlib.ExitStack() as doors:
        helper.signal(signal.SIGSTOP)
        for _ in range(10000):
            door = doors.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK))
            try:
                door.connect(str(helper.socket))
            except BlockingIOError:
                break
        else:
            pytest.fail("the backlog has no end")
        with calls_of(arm, helper.socket) as calls:
            calls.ask("open 20 20")
            assert_one_timeout(calls)
            helper.signal(signal.SIGCONT)
            doors.close()
            calls.ask("turns 20")


# COUNT: one is asked for in vain, and nobody waits for the others; or more than the session's queue takes. Where they were left as they
# are, whole were 0 of 12, and 14 of 600.
@pytest.mark.parametrize("count", [12, 600])
def test_handed_to_a_program_while_stopped(count):
    """Pinned when the helper comes to it, and taken out once they are read; or by their own receive buffer."""
    with Helper() as helper, Commanded([sys.executable, Path(__file__).with_name("handing_over.py"), count], EAGER, helper.socket) as ends:
        ends.answer(20)
        wait_until(lambda: ends.ask("turns 5", 20) == {} and helper.totals()["pairs_armed"] == count, 20, helper.explain)
        helper.signal(signal.SIGSTOP)
        ends.ask("exec", 10)
        helper.signal(signal.SIGCONT)
        wait_until(lambda: helper.totals()["leaves"] >= min(count, 100), 5, helper.explain)
        assert ends.ask("send", 20) == {"whole": count}


@contextlib.contextmanager
def redirecting_ends(helper, program):
    """A program of this folder with a pair of its own, whose turns are redirected."""
    with Commanded([sys.executable, Path(__file__).with_name(program)], EAGER, helper.socket) as ends:
        ends.answer(10)
        before = helper.totals()["redirected_msgs"]
        ends.ask("turns 20")
        proved(helper.totals()["redirected_msgs"] > before, helper.explain)
        yield ends


def test_flagged_sends_of_an_armed_pair():
    """A joined end has no urgent data, and no completions of MSG_ZEROCOPY (fact 15), and without the helper it can neither leave nor be
    pinned: what TCP would do at once is refused at once, nothing hangs, and the byte does not turn up among the others."""
    with Helper() as helper:
        with redirecting_ends(helper, "urgent.py") as ends:
            helper.signal(signal.SIGSTOP)
            assert ends.ask("receive", 5) == {"received": "EINVAL"}
            assert ends.ask("send", 5) == {"sent": "ENOTSUP", "as_data": False}
            assert ends.ask("uncopied", 5) == {"sent": "ENOBUFS", "arrived": ""}
            assert ends.ask("opening", 5) == {"sent": ["EISCONN"] * 3, "arrived": False}
            ends.ask("turns 20")
            helper.signal(signal.SIGCONT)
            helper.totals()  # it has a CPU again
            wait_until(lambda: ends.ask("uncopied", 5) == {"sent": 1, "arrived": "?"}, 5, helper.explain)
            proved(helper.totals()["leaves"] > 0, helper.explain)
            ends.ask("turns 20")


# Forgotten all the same, the first receive slept for ever, in the sockhash; after the reset the bytes of the old connection came first.
@pytest.mark.parametrize("dissolve, told, receives", [("unspec", 0, ["ECONNRESET", "ENOTCONN"]), ("again", "ECONNRESET", ["ENOTCONN"])])
def test_dissolved_while_stopped(dissolve, told, receives):
    """The socket cannot leave the sockhash. Nobody is to notice, and once the helper answers its next connection is accelerated."""
    with Helper() as helper:
        with redirecting_ends(helper, "dissolving.py") as ends:
            ends.ask("reset")
            helper.signal(signal.SIGSTOP)
            for _ in range(2):
                assert ends.ask(dissolve, 5) == told
                assert [ends.ask("receive", 5) for _ in receives] == receives
                assert ends.ask("anew", 5) == "fresh"
                ends.ask("turns 20", 5)
                ends.ask("reset")
            helper.signal(signal.SIGCONT)
            helper.totals()  # it has a CPU again
            armed = helper.totals()["pairs_armed_total"]

            def joins_again():
                assert ends.ask(dissolve, 5) == told
                assert ends.ask("anew", 5) == "fresh"
                ends.ask("turns 20")
                joined_anew = helper.totals()["pairs_armed_total"] > armed
                ends.ask("reset")
                return joined_anew

            wait_until(joins_again, 10, helper.explain)


@pytest.mark.parametrize("how", ["exit", "close"])
def test_ending_with_unread_bytes(how):
    """Who holds a socket is the helper's to ask, when bytes are unread. It does not answer: one bounded wait, and what the process
    itself knows of its forks has to do."""
    with Helper() as helper:
        with Commanded([sys.executable, Path(__file__).with_name("ending.py")], EAGER, helper.socket) as ends:
            ends.answer(10)
            wait_until(lambda: ends.ask("turns 20") == {} and helper.totals()["pairs_armed"] == 12, 10, helper.explain)
            before = helper.totals()["redirected_msgs"]
            ends.ask("turns 20")
            proved(helper.totals()["redirected_msgs"] >= before + 100, helper.explain)
            helper.signal(signal.SIGSTOP)
            seen = ends.ask(f"end {how}", 10)
            helper.signal(signal.SIGCONT)
            assert seen["errors"] == 12, seen
            assert seen["ms"] <= 8 * BOUND_US / 1000, seen  # a wait for each of the twelve would be more


@pytest.mark.parametrize("who", ["fork", "child"])
@pytest.mark.parametrize("how", ["exit", "close"])
def test_ending_with_unread_bytes_after_a_fork(how, who):
    """Then it is the helper alone who can say whether another process has the socket. One that gets no CPU for a while is waited for,
    longer than a join waits for it, and so is the session that a child needs to ask: a FIN would tell the peers that all was read."""
    with Helper() as helper:
        with Commanded([sys.executable, Path(__file__).with_name("ending.py")], EAGER, helper.socket) as ends:
            ends.answer(10)
            wait_until(lambda: ends.ask("turns 20") == {} and helper.totals()["pairs_armed"] == 12, 10, helper.explain)
            ends.ask(f"{who} 1")
            ends.ask("turns 20")
            helper.signal(signal.SIGSTOP)
            late = threading.Timer(2 * BOUND_US / 1e6, helper.signal, [signal.SIGCONT])
            late.start()
            seen = ends.ask(f"end {how}", 10)
            late.join()
            assert seen["errors"] == 12, seen


def test_ending_after_a_question_without_bytes_at_stake():
    """Nothing was unread where the helper was late first, so that was not worth a long wait; that of the next connection is."""
    with Helper() as helper:
        with Commanded([sys.executable, Path(__file__).with_name("ending.py")], EAGER, helper.socket) as ends:
            ends.answer(10)
            wait_until(lambda: ends.ask("turns 20") == {} and helper.totals()["pairs_armed"] == 12, 10, helper.explain)
            ends.ask("fork 1")
            ends.ask("turns 20")
            helper.signal(signal.SIGSTOP)
            late = threading.Timer(2 * BOUND_US / 1e6, helper.signal, [signal.SIGCONT])
            late.start()
            seen = ends.ask("end read-first", 10)
            late.join()
            assert seen["errors"] == 11, seen


# With a child that went on with its parent's request: no FIN in 3 of 5, as it took that for its own and gave it up, with its fd.
@pytest.mark.parametrize("arm", [PLAIN, EAGER], ids=str)
def test_a_handler_forks_in_the_join(arm):
    for _ in range(scaled(3) if arm.accelerated else 1):
        with Helper() as helper, socket.create_server(("127.0.0.1", 0)) as listener:
            with Commanded([built("chaos/fork_in_connect"), listener.getsockname()[1]], arm, helper.socket) as program:
                program.wait_output("ready")
                with listener.accept()[0]:
                    helper.signal(signal.SIGSTOP)
                    program.commands.write("go\n")
                    peer = listener.accept()[0]
                    program.wait_output("closed")
                    peer.settimeout(1)
                    assert peer.recv(1) == b"", program.describe()
                    peer.close()
                    helper.signal(signal.SIGCONT)
                    program.commands.write("end\n")
                    assert program.wait(10) == 0, program.describe()
