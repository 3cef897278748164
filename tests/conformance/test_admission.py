# SPDX-License-Identifier: BSD-2-Clause
"""Connections leave when their traffic does not pay and come back when it does; destinations that never pay are left alone."""
import os
import signal
import sys

import pytest

from support.apps import Commanded, ss_rows, strace_counts, wait_until
from support.helper import Helper
from support.program import AUTO, EAGER, PLAIN, Program, auto, built, run
from support.proof import proved

CONNECTIONS = 8
# A join or a leave takes a millisecond; this machine may take long to give a thread its turn.
GAP_MAX_US = 3_000_000
HELPER_NICE = -15


@pytest.mark.parametrize("arm", [PLAIN, AUTO, auto(1)], ids=str)
def test_phases_leave_and_return(arm):
    """Kinds of traffic that alternate, every byte position-coded, readers of their own and non-blocking fds among them."""
    with Helper() as helper:
        os.setpriority(os.PRIO_PROCESS, helper.pid, HELPER_NICE)
        with helper.counting() as grown:
            result = run([built("conformance/phases"), f"connections={CONNECTIONS}", f"seconds={4 if arm.accelerated else 1}", "deadline=60"], arm,
                         helper.socket, timeout=70)
        assert result["verified"] > 1e7
        assert result["longest_gap_us"] < GAP_MAX_US, result
        if not arm.accelerated:
            assert grown["sockets_joined"] == 0
            return
        proved(grown["redirected_bytes"] > 1e6, lambda: f"{grown}\n{helper.explain()}")
        proved(grown["leaves"] >= 2 * CONNECTIONS, lambda: f"{grown}\n{helper.explain()}")
        # twice and more, both ends: the accounts were exact after each leave
        proved(grown["sockets_joined"] >= 4 * CONNECTIONS, lambda: f"{grown}\n{helper.explain()}")
        # A helper without a CPU answers late, and a call that goes on meanwhile is refused once; wrong accounts always are.
        refused = helper.status()["refusals"].get("unseen-traffic", 0)
        proved(refused <= grown["sockets_joined"] / 10, f"accounts that are not exact: {refused} of {grown}")


# Requests of one byte, and answers of a header and a body, from a server that corks them or not.
ANSWERS = """
import os, socket, sys, threading
corks, body, turns, is_file = (int(word) for word in sys.argv[1:])
file = os.memfd_create("body")
os.write(file, b"b" * body)
listener = socket.create_server(("127.0.0.1", 0))
def serve():
    end = listener.accept()[0]
    while end.recv(1):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, corks)
        end.sendall(b"h" * 200)
        if is_file:
            sent = 0
            while sent < body:
                sent += os.sendfile(end.fileno(), file, sent, body - sent)
        else:
            end.sendall(b"b" * body)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
threading.Thread(target=serve, daemon=True).start()
client = socket.create_connection(listener.getsockname())
for _ in range(turns):
    client.sendall(b"?")
    left = 200 + body
    while left:
        left -= len(client.recv(left))
print("{}")
"""
TURNS = 2000


@pytest.mark.parametrize("corks, body, is_file, joins", [(0, 3000, 0, True), (1, 3000, 0, False), (1, 100_000, 0, True), (1, 70_000, 1, False),
                                                         (0, 70_000, 1, True), (1, 200_000, 1, True)])
def test_small_answers_of_pieces_that_tcp_would_send_as_one_do_not_join(helper, corks, body, is_file, joins):
    with helper.counting() as grown:
        run([sys.executable, "-c", ANSWERS, str(corks), str(body), str(TURNS), str(is_file)], AUTO, helper.socket)
    if joins:
        proved(grown["redirected_bytes"] > TURNS * 100, helper.explain)
    else:
        assert grown["sockets_joined"] == 0, helper.explain()


# What moves the application's bytes and waits for them differs from run to run; the rest is what a connection costs.
TRANSFERS = {"sendto", "recvfrom", "poll", "futex", "total", "clock_nanosleep", "restart_syscall"}


def calls_per_connection(folder, arm, server_arm, helper, turns):
    """System calls per connection, (of the client, of the server): runs of two lengths, so that starting costs nothing."""
    counts = {}
    for connections in (60, 160):
        files = [folder / f"{arm}-{connections}-{side}" for side in ("client", "server")]
        trace = [["strace", "-f", "-c", "-o", str(file)] for file in files]
        program = built("conformance/visits")
        with Program([*trace[1], program, "server", f"connections={connections}"], server_arm, helper.socket) as server:
            port = server.wait_output("port ")
            run([*trace[0], program, "client", f"port={port}", f"connections={connections}", f"turns={turns}"], arm,
                helper.socket, timeout=60)
            assert server.wait(20) == 0, server.describe()
        counts[connections] = [sum(n for name, n in strace_counts(file).items() if name not in TRANSFERS)
                               for file in files]
    return [(long - short) / 100 for long, short in zip(counts[160], counts[60])]


def test_short_connections_cost_no_system_call(helper, tmp_path):
    plain = calls_per_connection(tmp_path, PLAIN, PLAIN, helper, 1)
    fast = calls_per_connection(tmp_path, AUTO, AUTO, helper, 1)
    print(f"calls per connection of one turn (client, server): plain {plain}, auto {fast}")
    assert plain[0] >= 3 and plain[1] >= 2, plain  # socket, connect, close; accept, close
    for was, now in zip(plain, fast):
        assert now <= was + 0.1, (plain, fast)


def test_peer_without_the_shim_costs_next_to_nothing(helper, tmp_path):
    """A connection that could offer and does not costs three: its two addresses, and whether this is a vfork child."""
    os.setpriority(os.PRIO_PROCESS, helper.pid, HELPER_NICE)  # the next test is of one without a CPU
    plain = calls_per_connection(tmp_path, PLAIN, PLAIN, helper, 20)
    fast = calls_per_connection(tmp_path, AUTO, PLAIN, helper, 20)
    print(f"calls per connection of 20 turns (client, server): plain {plain}, auto {fast}")
    # Until the helper has answered, some 14 connections of one of the runs look for that, at ten calls each.
    assert fast[0] <= plain[0] + 6, (plain, fast)
    assert fast[1] <= plain[1] + 0.1, (plain, fast)


def test_helper_that_does_not_answer_is_looked_for_less_and_less(tmp_path):
    """One that has no CPU for a while: not every turn pays for a look whether there is a session now. A look is ten calls and more; there is one
    in so much time, so that a slow machine sees more of them a connection. Each of twelve turns asks whether there was a fork."""
    with Helper() as helper:
        plain = calls_per_connection(tmp_path, PLAIN, PLAIN, helper, 20)
        helper.signal(signal.SIGSTOP)
        try:
            fast = calls_per_connection(tmp_path, AUTO, PLAIN, helper, 20)
        finally:
            helper.signal(signal.SIGCONT)
    print(f"calls per connection of 20 turns (client, server): plain {plain}, auto {fast}")
    assert fast[0] <= plain[0] + 12 + 30, (plain, fast)


def test_peer_that_comes_under_the_shim_later_is_found(helper):
    program = built("conformance/visits")
    with Program([program, "server"]) as server:
        port = server.wait_output("port ")
        client = Program([program, "client", f"port={port}", "connections=1000000", "turns=100", "deadline=50"], AUTO,
                         helper.socket)
        with client:
            client.wait_output("visits 300", 40)
            before = helper.totals()
            server.end()
            with Program([program, "server", f"port={port}"], AUTO, helper.socket) as other:
                other.wait_output("port ")
                wait_until(lambda: helper.totals()["pairs_armed_total"] - before["pairs_armed_total"] >= 20, 30,
                           helper.explain)
            proved(helper.totals()["redirected_bytes"] > before["redirected_bytes"])


def test_peer_without_the_shim_is_offered_to_less_and_less(helper, tmp_path):
    """At first each connection offers, then one in so many: seen by the messages to the helper."""
    program = built("conformance/visits")
    sent = {}
    for connections in (40, 440):
        trace = tmp_path / f"offers-{connections}"
        with Program([program, "server", f"connections={connections}"]) as server:
            port = server.wait_output("port ")
            run(["strace", "-f", "-c", "-e", "trace=sendmsg", "-o", str(trace), program, "client", f"port={port}",
                 f"connections={connections}", "turns=40"], AUTO, helper.socket)
        sent[connections] = strace_counts(trace).get("sendmsg", 0)
    # an offer and a RETIRE each; without learning 400 connections would send 800
    assert sent[40] <= 80 and sent[440] - sent[40] <= 60, sent
    proved(sent[40] >= 4, sent)


GIVES_AWAY = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
for _ in range(20):
    client.sendall(b"ping"); server.recv(4); server.sendall(b"pong"); client.recv(4)
client.sendall(b"abc")          # unread, and on its way to another program
plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
os.set_inheritable(server.fileno(), True)
child = os.fork()
if child == 0:
    client.close()
    os.execve(sys.executable, [sys.executable, "-c", CHILD, str(server.fileno())], plain)
server.close()
print("given away", flush=True)
sys.stdin.readline()
client.sendall(b"def")
got = b""
while len(got) < 6:
    got += client.recv(6)
print("echoed", got.decode(), flush=True)
sys.stdin.readline()
client.sendall(b"ghi")
print("echoed again", client.recv(3).decode(), flush=True)
client.close()
os.waitpid(child, 0)
"""
ECHOES = "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); [s.sendall(d) for d in iter(lambda: s.recv(64), b'')]"


def test_pair_that_could_not_leave_does_so_later(helper):
    """Given to another program with unread bytes it is pinned; once they are read the helper's sweep takes it out."""
    script = f"CHILD = {ECHOES!r}\n{GIVES_AWAY}"
    with helper.counting() as grown:
        with Commanded([sys.executable, "-c", script], EAGER, helper.socket) as program:
            program.wait_output("given away")
            program.commands.write("\n")
            assert program.wait_output("echoed ") == "abcdef", program.describe()
            wait_until(lambda: helper.totals()["sockets_joined_now"] == 0, 10, helper.explain)
            program.commands.write("\n")
            assert program.wait_output("echoed again ") == "ghi", program.describe()
    proved(grown["redirected_bytes"] >= 100 and grown["leaves"] >= 1, grown)


SPILLS = """
import select, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
while not select.select([sys.stdin], [], [], 0.001)[0]:  # until it is armed
    client.sendall(b"ping"); server.recv(4); server.sendall(b"pong"); client.recv(4)
sys.stdin.readline()
client.setblocking(False); server.setblocking(False)
chunk, sent, received, rounds = bytes(range(256)) * 256, 0, 0, 0
while sent < int(sys.argv[1]) and rounds < 5000:
    rounds += 1
    try:
        while True:
            sent += client.send(memoryview(chunk)[sent % len(chunk):])
    except BlockingIOError:
        pass
    try:
        while True:
            data = server.recv(1 << 20)
            at = received % 256
            assert data == (chunk[at:] + chunk * (len(data) // len(chunk) + 1))[:len(data)], "bytes out of place"
            received += len(data)
    except BlockingIOError:
        pass
server.setblocking(True)
while received < sent:
    received += len(server.recv(1 << 20))
print(sent, received, flush=True)
sys.stdin.readline()
"""


# A sender of huge writes is judged by more than 64 MiB, and by no fewer than four that found no room (a round is 1 to 6 MB, as TCP's buffers go).
SPILL_BYTES = 200 << 20


@pytest.mark.parametrize("arm", [AUTO, EAGER], ids=str)
def test_sender_that_keeps_spilling_leaves(helper, arm):
    """It does not wait and fills TCP's buffers behind the bound, again and again."""
    redirected = helper.totals()["redirected_msgs"]
    with helper.counting() as grown, Commanded([sys.executable, "-c", SPILLS, str(SPILL_BYTES)], arm, helper.socket) as program:
        # Not only armed: a first message that passes, for an ACK's sake, would keep all behind it from being redirected.
        wait_until(lambda: helper.totals()["redirected_msgs"] > redirected, 20, helper.explain)
        program.commands.write("\n")
        wait_until(lambda: program.out.endswith("\n"), 30, program.describe)
        sent, received = map(int, program.out.split())
        rows = [row for row in ss_rows(helper) if row["pid"] == program.pid]
    assert sent >= SPILL_BYTES and received == sent, program.describe()
    proved(grown["redirected_bytes"] > 2**20 and grown["spills"] >= 1, grown)
    proved(grown["leaves"] >= 1, f"{grown} {rows}")


SMALL_BUFFER = """
import socket, sys
listener = socket.socket()
client = socket.socket()
for end in (listener, client):
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(sys.argv[1]))
listener.bind(("127.0.0.1", 0)); listener.listen(1)
client.connect(listener.getsockname())
server, _ = listener.accept()
for _ in range(2000):
    client.sendall(b"ping"); server.recv(4); server.sendall(b"pong"); client.recv(4)
print("{}")
"""


@pytest.mark.parametrize("set_bytes, joins", [(32768, False), (65536, True)])
def test_an_end_with_a_small_receive_buffer_does_not_join(helper, set_bytes, joins):
    """Nothing is redirected there: every message would pass, and pay for the verdict."""
    with helper.counting() as grown:
        run([sys.executable, "-c", SMALL_BUFFER, str(set_bytes)], AUTO, helper.socket)
    if joins:
        proved(grown["redirected_msgs"] > 100, helper.explain)
    else:
        assert grown["sockets_joined"] == 0, helper.explain()


STREAM_SECONDS = 30  # it is ended before


@pytest.mark.parametrize("reader_cpu", [0, 1], ids=["one-cpu", "two-cpus"])
def test_medium_writes_leave_when_the_reader_is_elsewhere(helper, reader_cpu):
    """Writes of 16 KiB: on one CPU the redirect more than doubles them, on two plain TCP is faster."""
    if reader_cpu not in os.sched_getaffinity(0):
        pytest.skip("one CPU")
    before = helper.totals()

    def grown(name):
        return helper.totals()[name] - before[name]

    with Program([built("bench/stream"), "--size", "16384", "--client-cpu", str(reader_cpu), "--server-cpu", "0", "--seconds", STREAM_SECONDS],
                 AUTO, helper.socket):
        if reader_cpu == 1:
            wait_until(lambda: grown("leaves") >= 1, 20, helper.explain)
        else:  # half a second of it, on an idle machine
            wait_until(lambda: grown("redirected_bytes") >= 1 << 30, 20, helper.explain)
            assert grown("leaves") == 0, helper.explain()
    # How many of a joined stream's writes are redirected is the reader's doing: behind bytes that TCP still carries they pass. On two CPUs
    # that may be all of them, until it leaves; of the turns before, of a byte each, some are redirected in any case.
    proved(grown("redirected_bytes") > 0, helper.explain)


def test_ends_that_take_turns_and_never_sleep_stay(helper):
    """On two CPUs. Those that send at the same time leave, if they find each other at work (paying.h): how often they do is up to the machine."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU")
    before = helper.totals()

    def grown(name):
        return helper.totals()[name] - before[name]

    with Program([built("bench/pingpong"), "--wait", "spin", "--client-cpu", "0", "--server-cpu", "1", "--seconds", STREAM_SECONDS], AUTO,
                 helper.socket):
        wait_until(lambda: grown("redirected_msgs") >= 100_000, 20, helper.explain)
        assert grown("leaves") == 0, helper.explain()


SHORT_STREAMS = """
import os, select, socket, sys, time
connections, writes = 60, 200
listener = socket.create_server(("127.0.0.1", 0))
child = os.fork()
os.sched_setaffinity(0, {1 if child == 0 else 0})
if child == 0:
    for _ in range(connections):
        with socket.create_connection(listener.getsockname()) as client:
            while client.recv(65536):
                pass
    os._exit(0)
deadline = time.monotonic() + 30
for connection in range(connections):
    server, _ = listener.accept()
    while connection == 0 and not select.select([sys.stdin], [], [], 0)[0] and time.monotonic() < deadline:
        server.sendall(bytes(16384))
    for _ in range(writes):
        server.sendall(bytes(16384))
    server.close()
assert os.waitpid(child, 0)[1] == 0
print("{}")
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
def test_short_medium_streams_to_another_cpu_join_less_and_less(helper):
    """Each join is given up after some dozen writes; the sender's port learns from that. The first stream lasts until it was armed, however late
    the helper gets a CPU."""
    os.setpriority(os.PRIO_PROCESS, helper.pid, HELPER_NICE)  # a connection is over before a helper without a CPU has seen it
    before = helper.totals()["pairs_armed_total"]
    with helper.counting() as grown:
        with Commanded([sys.executable, "-c", SHORT_STREAMS], AUTO, helper.socket) as program:
            wait_until(lambda: helper.totals()["pairs_armed_total"] > before, 20, helper.explain)
            program.commands.write("\n")
            program.result(60)
    assert 1 <= grown["pairs_armed_total"] <= 20, grown


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
def test_long_medium_stream_comes_back_to_be_measured(helper):
    """It keeps away for some 0.7 s after it has left, then joins again: plain TCP has been measured by then."""
    before = helper.totals()
    with Program([built("bench/stream"), "--size", "32768", "--client-cpu", "1", "--server-cpu", "0", "--seconds", STREAM_SECONDS],
                 AUTO, helper.socket):
        def grown(name):
            return helper.totals()[name] - before[name]

        wait_until(lambda: grown("leaves") >= 1 and grown("pairs_armed_total") >= 2, 20, helper.explain)
