# SPDX-License-Identifier: BSD-2-Clause
"""Two sockets that connect to each other at the same time; to be run in a network namespace whose loopback is slow. Datagrams fill its
queue, so that both SYNs are under way before either arrives. One line of JSON at the end."""
import json
import os
import select
import socket
import subprocess
import sys
import time

TURNS, SIZES, WAIT_S = 400, (1, 64, 3000, 30000), 10
SETTLE_S = 0.2


def end(port):
    made = socket.socket()
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made


def fill_queue():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        for _ in range(4):
            sink.sendto(bytes(60000), ("127.0.0.1", 9))


def cross(port):
    """Both ends, connected; the kernel must have seen SYNs cross."""
    one, other = end(port), end(port + 1)
    fill_queue()
    one.connect_ex(("127.0.0.1", port + 1))
    other.connect_ex(("127.0.0.1", port))
    for made in one, other:
        if not select.select([], [made], [], WAIT_S)[1] or made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            sys.exit("no connection")
        made.setblocking(True)
    return one, other


def receive(end_, size):
    got = b""
    while len(got) < size:
        more = end_.recv(size - len(got))
        if not more:
            sys.exit("ended")
        got += more
    return got


def converse(one, other):
    total = 0
    for turn in range(TURNS):
        sent = os.urandom(SIZES[turn % len(SIZES)])
        for sender, receiver in (one, other), (other, one):
            sender.sendall(sent)
            if receive(receiver, len(sent)) != sent:
                sys.exit("other bytes")
            total += len(sent)
        if turn < TURNS / 4:
            time.sleep(0.0005)   # the helper needs some time of its own
    one.shutdown(socket.SHUT_WR)
    ends = [other.recv(1)]
    other.sendall(b"last")
    ends.append(receive(one, 4))
    other.close()
    ends.append(one.recv(1))
    return total, [end_.decode() for end_ in ends]


if __name__ == "__main__":
    pair = cross(int(sys.argv[1]))
    time.sleep(SETTLE_S)
    subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], check=True, timeout=10)
    total, ends = converse(*pair)
    print(json.dumps({"bytes": total, "ends": ends}))
