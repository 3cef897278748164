# SPDX-License-Identifier: BSD-2-Clause
"""What of a connection is unacknowledged right after some turns of question and answer, on connections one after the other.

  acknowledged.py answers|asks CONNECTIONS TURNS PORT

Who answers prints "port N". Both: one line of JSON, how many of their connections had a segment that was not acknowledged."""
import json
import socket
import struct
import sys

UNACKED_AT = 24  # tcpi_unacked in struct tcp_info


def unacked(end):
    return struct.unpack_from("I", end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64), UNACKED_AT)[0]


def turn(end, asks):
    if asks:
        end.sendall(b"question")
    if len(end.recv(8, socket.MSG_WAITALL)) != 8:
        raise SystemExit("the stream ended early")
    if not asks:
        end.sendall(b"answered")


def main(role, connections, turns, port):
    waiting = 0
    if role == "answers":
        listener = socket.create_server(("127.0.0.1", 0))
        print("port", listener.getsockname()[1], flush=True)
    for _ in range(int(connections)):
        made = listener.accept()[0] if role == "answers" else socket.create_connection(("127.0.0.1", int(port)), 10)
        made.settimeout(None)
        with made as end:
            for _ in range(int(turns)):
                turn(end, role == "asks")
            waiting += unacked(end) > 0
            end.shutdown(socket.SHUT_WR)
            end.recv(1)
    print(json.dumps({"unacknowledged": waiting}))


main(*sys.argv[1:])
