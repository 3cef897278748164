# SPDX-License-Identifier: BSD-2-Clause
"""A helper that answers, but late: each join is waited for, and all together take a small share of the application's time."""
import sys

from support.helper import Helper, stuck
from support.program import AUTO, run

CONNECTIONS = 60
SECONDS = 2
LATE_MS = 3  # each of a join's system calls
# One thread a side.
TURNS = """
import os, selectors, socket, sys, time
connections, seconds = map(int, sys.argv[1:])
listener = socket.create_server(("127.0.0.1", 0))
if os.fork() == 0:
    watched = selectors.DefaultSelector()
    for _ in range(connections):
        watched.register(listener.accept()[0], selectors.EVENT_READ)
    while watched.get_map():
        for key, _ in watched.select():
            data = key.fileobj.recv(64)
            if data:
                key.fileobj.sendall(data)
            else:
                watched.unregister(key.fileobj)
                key.fileobj.close()
    os._exit(0)
ends = [socket.create_connection(listener.getsockname()) for _ in range(connections)]
until = time.monotonic() + seconds
while time.monotonic() < until:
    for end in ends:
        end.sendall(b"turn")
        assert end.recv(64) == b"turn"
for end in ends:
    end.close()
assert os.wait()[1] == 0
print("{}")
"""


def test_waits_for_a_late_helper_are_few():
    """All would join, and take most of the time, if each wait had nothing but its own bound."""
    with Helper() as helper, stuck(helper, LATE_MS):
        with helper.counting() as grown:
            run([sys.executable, "-c", TURNS, str(CONNECTIONS), str(SECONDS)], AUTO, helper.socket, timeout=60)
    assert 1 <= grown["sockets_joined"] <= CONNECTIONS, grown
