# SPDX-License-Identifier: BSD-2-Clause
"""grpc_peer.py server | client PORT ROUNDS: calls of all four kinds, small and large, one after the other and many at once. The client
checks all and prints {"bad", "bytes", "digest"}."""
import hashlib
import json
import sys
from concurrent import futures

import grpc

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
LARGE = 100_000, 3_000_000, 12_000_000


def digest(data):
    return hashlib.sha1(data).digest()


def answer(request, _):
    return digest(request) + request


def many(request, _):
    for number in range(200):
        yield request[:100] + b"%d" % number * 50


def last(requests, _):
    whole = hashlib.sha1()
    for request in requests:
        whole.update(request)
    return whole.digest()


def each(requests, _):
    for request in requests:
        yield digest(request)


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(8), options=UNLIMITED)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("check", {
        "answer": grpc.unary_unary_rpc_method_handler(answer), "many": grpc.unary_stream_rpc_method_handler(many),
        "last": grpc.stream_unary_rpc_method_handler(last), "each": grpc.stream_stream_rpc_method_handler(each)}),))
    print("port", server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


def check(port, rounds):
    bad = total = 0
    heard = hashlib.sha1()
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED) as channel:
        ask = channel.unary_unary("/check/answer")
        messages = [bytes([number % 256]) * (number * 37 % 5000) for number in range(5 * rounds)]
        messages += [bytes([number]) * size for number in range(rounds // 40) for size in LARGE]
        for message in messages:
            bad += ask(message, timeout=30) != answer(message, None)
            total += len(message)
        at_once = [b"%d" % number * 1000 for number in range(2 * rounds)]
        for future, message in [(ask.future(message, timeout=60), message) for message in at_once]:
            bad += future.result() != answer(message, None)
        for number in range(rounds // 20):
            for part in channel.unary_stream("/check/many")(b"question %d" % number, timeout=30):
                heard.update(part)
        parts = [bytes([number % 256]) * (number * 29 % 9000) for number in range(5 * rounds)]
        bad += channel.stream_unary("/check/last")(iter(parts), timeout=60) != digest(b"".join(parts))
        bad += list(channel.stream_stream("/check/each")(iter(parts), timeout=60)) != [digest(part) for part in parts]
        total += 2 * sum(map(len, parts))
    print(json.dumps({"bad": bad, "bytes": total, "digest": heard.hexdigest()}))


if __name__ == "__main__":
    serve() if sys.argv[1] == "server" else check(sys.argv[2], int(sys.argv[3]))
