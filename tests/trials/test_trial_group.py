# SPDX-License-Identifier: BSD-2-Clause
"""SMACCEL_GROUP: the accounts of a group's processes, their latencies, who may see them, and that they outlive the processes.

The program is the benchmark's ping-pong: a client and a forked server, which counts its round trips itself and times them. Its
own figures are the measure of what the shim recorded.
"""
import itertools
import mmap
import os
import signal
import socket
import struct
from pathlib import Path

import pytest
import service
from support import group
from support.apps import wait_until
from support.helper import Helper
from support.program import EAGER, Arm, Program, auto, built, descendants
from support.proof import proved

NOBODY = 65534
NEVER = Arm("never", "never")
CELLS_BYTES = 128 + 65536 * 128
LATENCY_OFFSET = (CELLS_BYTES + 4095) // 4096 * 4096
LATENCY_BYTES = 12288 + 128 * 28672 * 8


fresh = itertools.count(0x1000)  # groups of tests that are made again when they were not proved


def pingpong(arm, number, helper, seconds=0.3, prefix=()):
    return Program([*prefix, built("bench/pingpong"), "--seconds", seconds, "--warm-up", 0],
                   Arm(arm.name, arm.admit, {"SMACCEL_GROUP": f"{number:x}"}), helper.socket)


def lowest(index):
    shift = 0 if index < 2048 else index // 1024 - 1
    return (index - shift * 1024) << shift


def median_ns(row):
    seen = 0
    for index in sorted(row["buckets"]):
        seen += row["buckets"][index]
        if 2 * seen >= row["count"]:
            return lowest(index)
    raise AssertionError("no latencies")


@pytest.mark.parametrize("arm, add", [(NEVER, 0), (auto(1), 0), (EAGER, 0xFFFFFFFFFFFF0000)], ids=str)
def test_accounts_and_latencies_are_the_programs_own(helper, arm, add):
    number = add + next(fresh)
    with pingpong(arm, number, helper) as program:
        result = program.result(20)
    answer = group.ask(helper.socket, number)
    trips = result["count"]
    proved(trips > 100, trips)
    # A connection waits 50 ms for a session, and its first messages for none: they are not recorded, nor redirected.
    proved(all(trips - 2 <= group.latency(answer, role)["count"] for role in ("client", "server")), answer)
    proved(arm is NEVER or answer["redirected_msgs"] > 0, answer)
    assert answer["group"] == f"{number:x}" and answer["sessions"] == 2 and answer["complete"], answer
    assert (answer["connections"], answer["connected"], answer["accepted"]) == (1, 1, 1), answer
    for role in "client", "server":
        row = group.latency(answer, role)
        assert row["count"] <= trips, (role, trips, row["count"])
        assert row["count"] == sum(row["buckets"].values())
        assert row["max_ns"] <= row["sum_ns"]
    client = group.latency(answer, "client")
    # The program's clock also runs outside of the calls.
    assert 0.7 * result["median_ns"] < median_ns(client) <= 1.002 * result["median_ns"], (median_ns(client), result)
    assert client["sum_ns"] > group.latency(answer, "server")["sum_ns"]
    if arm is NEVER:
        assert answer["redirected_bytes"] == answer["redirected_msgs"] == answer["pairs_armed_total"] == 0, answer
        assert answer["reasons"] == {"watching": 2}, answer
    else:
        # Two ends of one connection, each with its own sends: not one message is counted twice.
        assert 0 < answer["redirected_msgs"] <= 2 * trips, answer
        assert answer["redirected_bytes"] == 64 * answer["redirected_msgs"], answer
        assert answer["redirected_msgs"] + answer["passed_msgs"] <= 2 * trips, answer
        assert answer["pairs_armed_total"] == 1 and answer["reasons"].get("armed", 0) >= 1, answer


def test_only_the_user_and_root_may_ask(helper):
    number = next(fresh)
    with pingpong(auto(1), number, helper, 0.1) as program:
        roots = program.result(20)["count"]
    proved(group.latency(group.ask(helper.socket, number), "client")["count"] >= roots - 2)  # a session from the first message on
    setpriv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    assert group.latency(group.ask(helper.socket, number, uid=NOBODY), "client")["count"] == 0
    with pingpong(auto(1), number, helper, 0.1, setpriv) as program:
        nobodys = program.result(20)["count"]
    own = group.ask(helper.socket, number, uid=NOBODY)
    proved(group.latency(own, "client")["count"] >= nobodys - 2, own)
    assert own["sessions"] == 2 and group.latency(own, "client")["count"] <= nobodys, own
    both = group.ask(helper.socket, number)
    assert both["sessions"] == 4
    assert roots + nobodys - 4 <= group.latency(both, "client")["count"] <= roots + nobodys


def test_a_number_that_nobody_has_used_is_empty(helper):
    answer = group.ask(helper.socket, 0xDEAD)
    assert answer["sessions"] == answer["connections"] == 0 and answer["latency"] == []
    with pytest.raises(OSError):
        group.ask(helper.socket, 0)


@pytest.mark.parametrize("arm", [NEVER, auto(1)], ids=str)
def test_killed_processes_have_lost_nothing(helper, arm):
    number = 0xC0 if arm is NEVER else 0xC1
    with pingpong(arm, number, helper, 20) as program:
        wait_until(lambda: group.latency(group.ask(helper.socket, number), "client")["count"] > 1000, 10,
                   program.describe)
        if arm is not NEVER:
            wait_until(lambda: group.ask(helper.socket, number)["redirected_msgs"] > 1000, 10, program.describe)
        os.kill(program.pid, signal.SIGSTOP)
        wait_until(lambda: states(program) == {"T", "S"}, 10, program.describe)  # the server waits for a message
        state = wait_until(lambda: settled(helper, number), 10)
        os.kill(program.pid, signal.SIGKILL)
        program.process.wait(10)
    after = group.ask(helper.socket, number)
    for role in "client", "server":
        assert group.latency(after, role)["count"] == group.latency(state, role)["count"] > 1000
    assert after["redirected_msgs"] == state["redirected_msgs"]


def states(program):
    """Of the client and its server, as in /proc/PID/stat. A process that is asked to stop goes on until a CPU has room for it."""
    return {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in descendants(program.pid)}


def settled(helper, number):
    first, second = group.ask(helper.socket, number), group.ask(helper.socket, number)
    return second if first == second else None


def test_the_oldest_idle_group_makes_room(tmp_path):
    with Helper("--config", _config(tmp_path, "groups-per-user = 2")) as helper:
        for number in 1, 2, 3:
            with pingpong(NEVER, number, helper, 0.05) as program:
                program.result(20)
        counts = [group.ask(helper.socket, number)["sessions"] for number in (1, 2, 3)]
        proved(counts[2] == 2, counts)  # a helper that is late has never heard of a process of 50 ms
        assert counts == [0, 2, 2], counts


def test_histograms_are_bounded_per_user(tmp_path):
    with Helper("--config", _config(tmp_path, "histograms-per-user = 2")) as helper:
        for number in 1, 2:
            with pingpong(NEVER, number, helper, 0.05) as program:
                program.result(20)
        first, second = (group.ask(helper.socket, number) for number in (1, 2))
        proved(second["sessions"] == 2, second)
        assert first["latency"] == [] and len(second["latency"]) == 2, (first, second)


def test_groups_of_before_take_no_room_from_a_trial(tmp_path):
    """As past runs of root's `smaccel ab` do: idle accounts are kept for as long as the quota lets them."""
    with Helper("--config", _config(tmp_path, "histograms-per-user = 4")) as helper:
        for number in 1, 2:
            with pingpong(NEVER, number, helper, 0.05) as program:
                program.result(20)
        with service.Load(helper) as load:
            service.start(helper, "--port", str(load.port))
            load.ask("open 20")
            service.settled(helper, load, 20)
            before = load.answered()
            wait_until(lambda: load.answered() > before + 200, 20, load.describe)
            service.trial(helper, "stop")
            answer = service.report(helper, expect=(0,))
        assert answer["latencies_lost"] == 0 and len(answer["requests"]) == len(answer["connections"]) == 4, answer
        assert len(answer["parts"]) > 4
        for number in 1, 2:  # nor does a trial from them
            assert len(group.ask(helper.socket, number)["latency"]) == 2


def _config(directory, line):
    path = directory / "smacceld.conf"
    path.write_text(line + "\n")
    return path


def test_nothing_is_recorded_without_a_group_or_trial(helper):
    """The pages behind the cells never come to exist."""
    with Program([built("bench/pingpong"), "--seconds", 5, "--warm-up", 0], auto(1), helper.socket) as program:
        before = helper.totals()["redirected_msgs"]
        wait_until(lambda: helper.totals()["redirected_msgs"] > before + 1000, 10, program.describe)
        memories = session_memories(helper.pid)
        assert len(memories) >= 2
        for memory in memories:
            with pytest.raises(OSError):  # ENXIO: nothing but a hole
                os.lseek(memory, LATENCY_OFFSET, os.SEEK_DATA)
            os.close(memory)


def session_memories(pid):
    fds = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if "smaccel-session" in os.readlink(entry):
                fds.append(os.open(entry, os.O_RDONLY))
        except OSError:
            continue
    return fds


def test_a_hostile_memory_hurts_only_its_own_accounts(helper):
    """Every byte of the shared memory set to 1s and to noise, by a client that speaks the protocol."""
    number = 0xE0
    for fill in b"\xff", os.urandom(1), None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
            door.connect(str(helper.socket))
            own, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            hello = struct.pack(group.HEADER + "16sQ", group.WIRE_MAGIC, group.WIRE_VERSION, 1, 40, 0, 0, b"liar", number)
            socket.send_fds(door, [hello], [far.fileno()])
            far.close()
            own.settimeout(10)
            welcome, fds, _, _ = socket.recv_fds(own, 256, 4)
            if len(welcome) != 40:  # which processes were stopped: it comes before, where the kernel tells
                os.close(fds[0])
                welcome, fds, _, _ = socket.recv_fds(own, 256, 4)
            assert len(welcome) == 40
            memory = mmap.mmap(fds[0], LATENCY_OFFSET + LATENCY_BYTES)
            for at in range(LATENCY_OFFSET, LATENCY_OFFSET + LATENCY_BYTES, 1 << 20):
                size = min(1 << 20, LATENCY_OFFSET + LATENCY_BYTES - at)
                memory[at:at + size] = fill * size if fill else os.urandom(size)
            for series in range(4):  # names that the helper believes
                struct.pack_into("I", memory, LATENCY_OFFSET + 64 + 1024 + 64 * series, 0x80000000 | series)
            answer = group.ask(helper.socket, number)
            assert answer["group"] == f"{number:x}" and len(answer["latency"]) >= 4
            assert len(answer["latency"][0]["buckets"]) == 28672
            memory.close()
            os.close(fds[0])
            own.close()
    assert answer["redirected_bytes"] == 0 and all(row["count"] >= 0 for row in answer["latency"])
    with pingpong(auto(1), 0xE1, helper, 20) as program:  # the helper serves on
        wait_until(lambda: group.ask(helper.socket, 0xE1)["redirected_bytes"] > 0, 10, program.describe)
