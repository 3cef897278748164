# SPDX-License-Identifier: BSD-2-Clause
"""The helper is stuck in the middle of a join, with a duplicate of the application's fd in its hands: the end of the connection is at once
what it is on plain TCP, FIN or a reset."""
import contextlib
import os
import socket
import sys
import time
from pathlib import Path

import pytest
from support.apps import Commanded
from support.helper import Helper, stuck
from support.program import EAGER, PLAIN, Program, built

STUCK_MS = 3000  # longer than what is asked of the end takes
PEER_S = 1


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
    time.sleep(0.02)
    return seen + [outcome(lambda: peer.send(b"x"))]


def end_seen(arm, commands, sends, helper=None):
    """sends: what the peer does before, and the end is told to wait for."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        if helper:
            stack.enter_context(stuck(helper, STUCK_MS))
        program = stack.enter_context(Commanded([sys.executable, Path(__file__).with_name("lent.py"), listener.getsockname()[1]], arm,
                                                helper.socket if helper else None))
        peer = stack.enter_context(listener.accept()[0])
        inode = program.answer(10)["inode"]
        if helper:
            assert f"socket:[{inode}]" in files(helper.pid), "it is not lent"
        if sends:
            peer.send(b"u", socket.MSG_OOB if sends == "urgent" else 0)
            program.ask(sends)
        for command in commands[:-1]:
            program.ask(command)
        program.commands.write(f"{commands[-1]}\n")
        seen = seen_by_peer(peer)
        if helper:
            assert f"socket:[{inode}]" in files(helper.pid), "the helper has let it go"
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


@pytest.mark.parametrize("stream", ["stream", "stdout"])
def test_what_libc_writes_at_the_end_is_sent(stream):
    """That the end of the stream comes with it is the helper's affair, which has the duplicate."""
    with Helper() as helper, socket.create_server(("127.0.0.1", 0)) as listener, stuck(helper, STUCK_MS), \
            Program([built("chaos/last_words"), listener.getsockname()[1], stream], EAGER, helper.socket) as program:
        peer = listener.accept()[0]
        peer.settimeout(PEER_S)
        assert outcome(lambda: peer.recv(64)) == b"line"
        assert program.wait(10) == 0, program.describe()
