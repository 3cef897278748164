# SPDX-License-Identifier: BSD-2-Clause
"""Beginnings of scripts that tests run by `python3 -c`."""

# connected_pair(): both ends of a connection, used enough to be joined in an arm that accelerates.
CONNECTED_PAIR = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
def connected_pair():
    end = socket.create_connection(listener.getsockname())
    peer = listener.accept()[0]
    for _ in range(50):
        end.sendall(b"turn")
        peer.sendall(peer.recv(64))
        end.recv(64)
    return end, peer
"""
