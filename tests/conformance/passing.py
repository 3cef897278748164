# SPDX-License-Identifier: BSD-2-Clause
"""Connections that one process passes to another (SCM_RIGHTS): a giver that accepts, or makes, each, and a taker that goes on with it, and a
plain peer. Question and answer, every byte checked.

  passing.py peer|both accepts|connects HOW CONNECTIONS PORT

What passes accepts or connects; the peer does the other, and asks the questions. HOW:
  fresh   passed before anything has been said, closed by the giver at once
  begun   the giver has answered EARLY questions
  unread  the next question waits when it is passed
  late    the giver closes it only after half of the questions
  whole   the same, and the taker asks for each question as a whole
  lonely  as fresh, and the peer says nothing for a while, longer than the helper leaves an end alone in the sockhash
  kept    the giver closes it at the end
  shared  the giver keeps it and answers every tenth question
  zero    the giver, which has it at number 0, has answered EARLY questions, and keeps it
The one that passes prints "port N" if it accepts. One line of JSON from the peer."""
import json
import os
import random
import select
import socket
import sys
import time

TURNS, EARLY, SIZE_MAX, WAIT_S = 400, 7, 3000, 10
EARLY_HOWS = ("begun", "zero")
LATE_HOWS = ("late", "whole")
QUIET_TURNS, QUIET_S = (10, 20), 0.3


def message(connection, turn):
    draw = random.Random(connection * 1000 + turn)
    return draw.randbytes(draw.randrange(1, SIZE_MAX))


def read_whole(end, count, flags=0):
    data = b""
    while len(data) < count:
        piece = end.recv(count - len(data), flags)
        if not piece:
            raise SystemExit("the stream ended early")
        data += piece
    return data


def ask(end, connection, turn):
    question = message(connection, turn)
    end.sendall(question)
    if read_whole(end, len(question)) != question[::-1]:
        raise SystemExit(f"connection {connection}, turn {turn}: another answer")
    return 2 * len(question)


def answer(end, connection, turn, flags=0):
    question = read_whole(end, len(message(connection, turn)), flags)
    if question != message(connection, turn):
        raise SystemExit(f"connection {connection}, turn {turn}: another question")
    end.sendall(question[::-1])


def take(channel, how, connections):
    """The taker: tells the giver when it is to answer, or to close, and when the connection is over."""
    for connection in range(connections):
        _, numbers, _, _ = socket.recv_fds(channel, 1, 1)
        with socket.socket(fileno=numbers[0]) as end:
            for turn in range(EARLY if how in EARLY_HOWS else 0, TURNS):
                if how == "shared" and turn % 10 == 9 or how in LATE_HOWS and turn == TURNS // 2:
                    channel.send(turn.to_bytes(2, "little"))
                    channel.recv(1)
                if how != "shared" or turn % 10 != 9:
                    answer(end, connection, turn, socket.MSG_WAITALL if how == "whole" else 0)
            if end.recv(1):
                raise SystemExit("more than was asked")
        channel.send(b"end")


def give(made, channel, how, connection):
    with made as end:
        for turn in range(EARLY if how in EARLY_HOWS else 0):
            answer(end, connection, turn)
        if how == "unread":
            select.select([end], [], [], WAIT_S)
        socket.send_fds(channel, [b"x"], [end.fileno()])
        if how in ("fresh", "begun", "unread", "lonely"):
            end.close()
        while (word := channel.recv(3)) not in (b"end", b""):
            if how == "shared":
                answer(end, connection, int.from_bytes(word, "little"))
            else:
                end.close()
            channel.send(b"x")
        return word == b"end"


def both(role, how, connections, port):
    channels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        channels[0].close()
        take(channels[1], how, connections)
        os._exit(0)
    channels[1].close()
    if role == "accepts":
        listener = socket.create_server(("127.0.0.1", port))
        print("port", listener.getsockname()[1], flush=True)
    if how == "zero":
        os.close(0)
    for connection in range(connections):
        made = listener.accept()[0] if role == "accepts" else socket.create_connection(("127.0.0.1", port), WAIT_S)
        made.settimeout(None)
        if not give(made, channels[0], how, connection):
            raise SystemExit("the taker has gone")
    os.wait()


def peer(role, how, connections, port):
    total = 0
    if role == "connects":
        listener = socket.create_server(("127.0.0.1", port))
        print("port", listener.getsockname()[1], flush=True)
    for connection in range(connections):
        made = listener.accept()[0] if role == "connects" else socket.create_connection(("127.0.0.1", port), WAIT_S)
        made.settimeout(None)
        with made as end:
            for turn in range(TURNS):
                total += ask(end, connection, turn)
                if how == "lonely" and turn in range(*QUIET_TURNS):
                    time.sleep(QUIET_S)
            end.shutdown(socket.SHUT_WR)
            if end.recv(1):
                raise SystemExit("more than was asked for")
    print(json.dumps({"bytes": total}))


def main(which, role, how, connections, port):
    if which == "peer":
        peer(role, how, int(connections), int(port))
    else:
        both(role, how, int(connections), int(port))


main(*sys.argv[1:])
