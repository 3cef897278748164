# SPDX-License-Identifier: BSD-2-Clause
"""Both ends of a connection in one process, for test_helper_stopped.py: a command a line, answered by a line of JSON.

  turns N    one byte there and back       send    an urgent byte: what send() and the peer say       recv    asks for one
  uncopied   a byte sent with MSG_ZEROCOPY, for which the listener has set the option: the same
  opening    a byte sent with MSG_FASTOPEN, by three functions: what each says, and what has come of it
"""
import errno
import json
import select
import socket
import sys


SO_ZEROCOPY, MSG_ZEROCOPY = 60, 0x4000000


def outcome(call):
    try:
        return call()
    except OSError as error:
        return errno.errorcode[error.errno]


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    near = socket.create_connection(listener.getsockname())
    far = listener.accept()[0]
    for end in (near, far):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        command, *numbers = line.split()
        if command == "turns":
            for _ in range(int(numbers[0])):
                for one, other in ((near, far), (far, near)):
                    one.sendall(b"t")
                    assert other.recv(1) == b"t"
            answer = "done"
        elif command == "send":
            sent = outcome(lambda: near.send(b"!", socket.MSG_OOB))
            readable = bool(select.select([far], [], [], 0.1)[0])
            answer = {"sent": sent, "as_data": readable}
        elif command == "uncopied":
            sent = outcome(lambda: far.send(b"?", MSG_ZEROCOPY))
            arrived = bool(select.select([near], [], [], 0.1)[0])
            answer = {"sent": sent, "arrived": near.recv(64).decode() if arrived else ""}
        elif command == "opening":
            sent = [outcome(lambda: near.send(b"^", socket.MSG_FASTOPEN)), outcome(lambda: near.sendto(b"^", socket.MSG_FASTOPEN, far.getsockname())),
                    outcome(lambda: near.sendmsg([b"^"], [], socket.MSG_FASTOPEN))]
            answer = {"sent": sent, "arrived": bool(select.select([far], [], [], 0.1)[0])}
        else:
            answer = {"received": str(outcome(lambda: far.recv(1, socket.MSG_OOB)))}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
