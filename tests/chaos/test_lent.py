# SPDX-License-Identifier: BSD-2-Clause
"""The helper is stuck in the middle of a join, with a duplicate of the application's fd in its hands: the end of the connection is at once
what it is on plain TCP, FIN or a reset."""
import contextlib
import errno
import os
import select
import signal
import socket
import sys
from pathlib import Path

import pytest
from support.apps import Commanded
from support.helper import Helper, stuck
from support.program import EAGER, PLAIN, Program, auto, built, run

STUCK_MS = 3000  # longer than what is asked of the end takes
PEER_S = 1
ANSWER_MS = 200
TRIES = 5
STEP_MS = 100  # longer than a join is waited for
INSERTION = 3  # the call of bpf(2) of a join that does it: after two looks


def files(pid):
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            yield os.readlink(f"/proc/{pid}/fd/{name}")


def outcome(call):
    try:
        return call()
    except OSError as error:
        return error.errno


def seen_by_peer(peer):
    """What the end is to it, and what then becomes of a message that nobody will read, and of the next one."""
    peer.settimeout(PEER_S)
    seen = [outcome(lambda: peer.recv(64))]
    seen.append(outcome(lambda: peer.send(b"x")))
    poller = select.poll()  # what answers is busy in its close(): with a stolen CPU, some 1 in 400, for more than 20 ms
    poller.register(peer, 0)
    poller.poll(ANSWER_MS)
    return seen + [outcome(lambda: peer.send(b"x"))]


def end_seen(arm, commands, sends, helper=None, told=None):
    """sends: what the peer does before, and the end is told to wait for. told: what epoll and SIGIO say afterwards is added to it."""
    for _ in range(TRIES):  # a helper without a CPU has not taken the fd when it is taken back, or the others got none until it let it go
        seen = end_seen_once(arm, commands, sends, helper, told)
        if seen:
            return seen
    raise AssertionError("it is not lent")


def end_seen_once(arm, commands, sends, helper, told):
    """None: it is not lent, or no more."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        if helper:
            stack.enter_context(stuck(helper, STUCK_MS))
        program = stack.enter_context(Commanded([sys.executable, Path(__file__).with_name("lent.py"), listener.getsockname()[1]], arm,
                                                helper.socket if helper else None))
        peer = stack.enter_context(listener.accept()[0])
        inode = program.answer(10)["inode"]
        if helper and f"socket:[{inode}]" not in files(helper.pid):
            return None
        if sends:
            peer.send(b"u", socket.MSG_OOB if sends == "urgent" else 0)
            program.ask(sends)
        for command in commands[:-1]:
            program.ask(command)
        program.commands.write(f"{commands[-1]}\n")
        seen = seen_by_peer(peer)
        if told is not None:
            program.answer(5)
            said = program.ask("told")
        if helper and f"socket:[{inode}]" not in files(helper.pid):
            return None  # all this took longer than the helper was stuck
        if told is not None:
            told.append(said)
        return seen


@pytest.mark.parametrize("last", ["close", "exit", "_exit"])
@pytest.mark.parametrize("commands, sends", [([], None), ([], "unread"), ([], "urgent"), (["linger"], None), (["receiver"], None)],
                         ids=["fin", "unread", "urgent", "linger", "receiver"])
def test_the_end_is_that_of_tcp(commands, sends, last):
    plain = end_seen(PLAIN, [*commands, last], sends)
    with Helper() as helper:
        here = end_seen(EAGER, [*commands, last], sends, helper)
        helper.totals()  # it goes on
    assert here == plain


@pytest.mark.parametrize("watch", ["watched", "doubled"])
@pytest.mark.parametrize("sends", [None, "unread"])
def test_a_closed_fd_tells_nothing_any_more(sends, watch):
    told = [[], []]
    plain = end_seen(PLAIN, [watch, "close"], sends, None, told[0])
    with Helper() as helper:
        here = end_seen(EAGER, [watch, "close"], sends, helper, told[1])
        helper.totals()
    assert here == plain
    assert told[1] == told[0] and told[1][0]["events"] == []


@pytest.mark.parametrize("stream", ["stream", "stdout"])
def test_what_libc_writes_at_the_end_is_sent(stream):
    """That the end of the stream comes with it is the helper's affair, which has the duplicate."""
    with Helper() as helper, socket.create_server(("127.0.0.1", 0)) as listener, stuck(helper, STUCK_MS), \
            Program([built("chaos/last_words"), listener.getsockname()[1], stream], EAGER, helper.socket) as program:
        peer = listener.accept()[0]
        peer.settimeout(STUCK_MS / 1000)
        assert outcome(lambda: peer.recv(64)) == b"line"
        assert program.wait(10) == 0, program.describe()


# Both ends of a connection, of which the helper has one; HELPER_FILES() names the files that it has.
MET = """
import array, fcntl, json, os, select, socket, struct, termios, time
listener = socket.create_server(("127.0.0.1", 0))
ends = [socket.create_connection(listener.getsockname()), listener.accept()[0]]
for end in ends:
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
names = [f"socket:[{os.fstat(end.fileno()).st_ino}]" for end in ends]
for i in range(10000):
    ends[i % 2].sendall(b"turn")
    ends[1 - i % 2].recv(64)
    held = [file for file in HELPER_FILES() if file in names]
    if held:
        break
"""

# Each has six bytes to read, and says what FIONREAD tells.
UNREAD = """
unread = set()
for end in ends:
    end.sendall(b"unread")
for end in ends:
    select.select([end], [], [], 5)
for i in range(LOOKS):
    for end in ends:
        count = array.array("i", [0])
        fcntl.ioctl(end.fileno(), termios.FIONREAD, count)
        unread.add(count[0])
    time.sleep(0.01)
print(json.dumps({"unread": sorted(unread), "held": len(held)}))
"""

# A send without a copy, and how many are said to be over: one, however it was sent.
UNCOPIED = """
SO_ZEROCOPY, MSG_ZEROCOPY, BYTES = 60, 0x4000000, 900000

def uncopied(end, other):
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 21)
    end.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    assert end.send(b"z" * BYTES, MSG_ZEROCOPY) == BYTES
    assert other.recv(BYTES, socket.MSG_WAITALL) == b"z" * BYTES
    poller, over = select.poll(), 0
    poller.register(end, 0)
    while poller.poll(0 if over else 5000):
        [[_, _, data]] = end.recvmsg(64, 256, socket.MSG_ERRQUEUE)[1]
        first, last = struct.unpack("IBBBBII", data[:16])[5:]
        over += last - first + 1
    return over
"""
ZEROCOPY = UNCOPIED + """
print(json.dumps({"over": [uncopied(*ends), uncopied(*ends[::-1])], "held": len(held)}))
"""

# Does so on the end that the helper has, each time that it is told to; or asks for the stamps of sends, and says what the error was, or 0.
ASKED = UNCOPIED + """
import sys
[[lent, other]] = [pair for pair, name in zip([ends, ends[::-1]], names) if name in held]
print("{}", flush=True)
for line in sys.stdin:
    if line.startswith("send"):
        print(uncopied(lent, other), flush=True)
        continue
    try:
        lent.setsockopt(socket.SOL_SOCKET, 37, 1 << 4)
        print(0, flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""


def meeting(helper, text):
    return [sys.executable, "-c",
            (MET + text).replace("HELPER_FILES()", f"map(os.readlink, (e.path for e in os.scandir('/proc/{helper.pid}/fd')))")]


def met(helper, text, looks=1):
    return run(meeting(helper, text.replace("LOOKS", str(looks))), auto(1), helper.socket, timeout=30)


def test_unread_bytes_while_the_helper_has_an_end_in_a_map():
    """A join was given up: the end is as it was before, but for the kernel, of which 6.18 counts redirected bytes alone then (fact 6). Each
    step of the helper takes so long that the looks meet them all."""
    with Helper() as helper, stuck(helper, STEP_MS, "exit"):
        assert met(helper, UNREAD, 20 * STEP_MS // 10) == {"unread": [6], "held": 1}


def test_zerocopy_while_the_helper_has_an_end_in_a_map():
    """A send comes in pieces there, each of which would be said to be over: of 900,000 bytes 28."""
    with Helper() as helper, stuck(helper, STUCK_MS, "exit", INSERTION):
        assert met(helper, ZEROCOPY) == {"over": [1, 1], "held": 1}, helper.explain()


@pytest.mark.parametrize("when, inserted", [("enter", False), ("exit", True)])
def test_options_when_the_helper_is_gone(when, inserted):
    """Killed before it puts the end in a map, or after: there it is until another helper takes it out. SO_TIMESTAMPING would stamp each
    piece, so it is refused as long as that may be."""
    with Helper() as helper, contextlib.ExitStack() as stack:
        with stuck(helper, STUCK_MS, when, INSERTION):
            program = stack.enter_context(Commanded(meeting(helper, ASKED), auto(1), helper.socket))
            program.answer(10)
            assert program.ask("send while it is stuck") == 1
            assert program.ask("stamps while it is stuck") == errno.ENOPROTOOPT
            helper.signal(signal.SIGKILL)
        helper.kill()
        assert program.ask("send when it is gone") == 1
        assert program.ask("stamps when it is gone") == (errno.ENOPROTOOPT if inserted else 0)
        helper.start()
        assert program.ask("send when another is there") == 1
        assert program.ask("stamps when another is there") == 0
