# SPDX-License-Identifier: BSD-2-Clause
"""The helper is another one, or refuses, or does not answer for a moment: afterwards all is as before. Once nobody told the processes, so that what
had been refused, left half joined or taken out was plain TCP for as long as it lived, and a request after a time-out failed a second later."""
import signal
import sys
import time
from pathlib import Path

import pytest
from support.apps import Commanded, wait_until
from support.helper import Helper
from support.program import EAGER, auto
from support.proof import proved

# Ends of one process. Commands: connect, accept, turns N, spill, lowat N (of the Nth that it connected),
# many N, close (all that it connected). All but the last with the last pair.
ENDS = """
import json, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
near, far, connected = None, None, []
def turns(count):
    for _ in range(count):
        near.sendall(b"there"); far.recv(64); far.sendall(b"back"); near.recv(64)
def spill():
    chunk, sent, received = bytes(65536), 0, 0
    near.setblocking(False); far.setblocking(False)
    while sent < 100 << 20:
        try:
            while True:
                sent += near.send(chunk)
        except BlockingIOError:
            pass
        try:
            while True:
                received += len(far.recv(1 << 20))
        except BlockingIOError:
            pass
    near.setblocking(True); far.setblocking(True)
    while received < sent:
        received += len(far.recv(1 << 20))
for line in sys.stdin:
    command, *count = line.split()
    said = {}
    if command == "connect":
        near = socket.create_connection(listener.getsockname())
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.append(near)
    elif command == "accept":
        far = listener.accept()[0]
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    elif command == "turns":
        turns(int(count[0]))
    elif command == "spill":
        spill()
    elif command == "many":
        for _ in range(int(count[0])):
            connected.append(socket.create_connection(listener.getsockname()))
            connected.append(listener.accept()[0])
    elif command == "close":
        while connected:
            connected.pop().close()
    elif command == "lowat":
        try:
            connected[int(count[0])].setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 2)
        except OSError as error:
            said["error"] = error.errno
    print(json.dumps(said), flush=True)
"""


class Ends(Commanded):
    def __init__(self, arm, helper):
        super().__init__([sys.executable, "-c", ENDS], arm, helper.socket)

    def open(self):
        self.ask("connect")
        self.ask("accept")


def redirects_again(helper, ends, turns=1000, seconds=15):
    def grown():
        with helper.counting() as grown:
            ends.ask(f"turns {turns}")
        return grown["redirected_msgs"] > turns

    wait_until(grown, seconds, helper.explain)


@pytest.mark.parametrize("how", ["kill", "term"])
def test_an_end_that_had_joined_alone_joins_again(how):
    with Helper() as helper, Ends(EAGER, helper) as ends:
        ends.ask("connect")
        wait_until(lambda: helper.totals()["sockets_joined_now"] == 1, 5, helper.explain)
        helper.kill() if how == "kill" else helper.stop()
        helper.start()
        ends.ask("accept")
        redirects_again(helper, ends)


@pytest.mark.parametrize("arm", [auto(1), EAGER], ids=str)
@pytest.mark.parametrize("how", ["kill", "term"])
def test_a_pair_that_the_next_helper_takes_out_comes_again(arm, how):
    with Helper() as helper, Ends(arm, helper) as ends:
        ends.open()
        redirects_again(helper, ends)
        helper.kill() if how == "kill" else helper.stop()
        helper.start()
        ends.ask("spill")
        wait_until(lambda: ends.ask("turns 1") == {} and helper.totals()["leaves"] >= 1, 10, helper.explain)
        redirects_again(helper, ends)


def test_a_process_that_was_refused_asks_again(tmp_path):
    """Six processes and four sessions; those that are left are accelerated when there is room."""
    settings = tmp_path / "smacceld.conf"
    settings.write_text("sessions-per-user = 4\n")
    with Helper("--config", str(settings)) as helper:
        programs = [Ends(EAGER, helper) for _ in range(6)]
        try:
            for program in programs:
                program.open()
                program.ask("turns 10")
            assert helper.status()["refusals"]["table-full"] >= 2, helper.explain()
            for program in programs[:4]:
                program.end()
            for program in programs[4:]:
                time.sleep(1.1)
                program.open()
                redirects_again(helper, program)
        finally:
            for program in programs[4:]:
                program.end()


def test_a_helper_that_was_late_once_is_asked_again():
    """Its answer to the ping is there by then."""
    with Helper() as helper, Ends(EAGER, helper) as ends:
        for _ in range(2):
            ends.open()
            redirects_again(helper, ends)
        helper.signal(signal.SIGSTOP)
        began = time.monotonic()
        ends.ask("lowat 0")
        late_s = time.monotonic() - began
        helper.signal(signal.SIGCONT)
        time.sleep(0.5)
        assert ends.ask("lowat 1") == {}, (late_s, helper.explain())
        proved(late_s > 0.04, late_s)


def test_many_pairs_of_the_helper_before_are_free_soon_after_their_ends():
    """Nobody tells of them."""
    pairs = 2560
    with Helper() as helper, Ends(EAGER, helper) as ends:
        ends.ask(f"many {pairs}", 60)
        armed = helper.totals()["pairs_armed"]
        proved(armed >= 0.9 * pairs, helper.explain)  # a join that a late helper did not answer in time is given up, and here nobody sends
        helper.kill()
        helper.start()
        assert helper.totals()["pairs_armed"] == armed, helper.explain()
        ends.ask("close", 60)
        wait_until(lambda: helper.totals()["pairs_armed"] == 0, 6, helper.explain)  # the sweep of all would take 10


def test_the_next_session_notes_stops_where_the_last_one_did():
    """Each left a quarter of a MB behind in every process that had it."""
    with Helper() as helper, Ends(EAGER, helper) as ends:
        for _ in range(4):
            ends.open()
            redirects_again(helper, ends)
            assert Path(f"/proc/{ends.process.pid}/maps").read_text().count("anon_inode:bpf-map") == 1
            helper.kill()
            helper.start()
