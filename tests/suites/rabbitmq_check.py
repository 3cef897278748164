# SPDX-License-Identifier: BSD-2-Clause
"""rabbitmq_check.py PORT ROUNDS: publishes with confirms, consumes with acknowledgements; checks each body, prints {"answers", "bytes"}."""
import json
import random
import sys

import pika

SIZES = [0, 1, 100, 4096, 65536, 131_072, 1_000_003]


def connect(port):
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, blocked_connection_timeout=30))


def body(number):
    return random.Random(number).randbytes(SIZES[number % len(SIZES)])


def check(port, rounds):
    publisher, consumer = connect(port), connect(port)
    out, into = publisher.channel(), consumer.channel()
    out.queue_declare("numbers")
    out.confirm_delivery()
    into.basic_qos(prefetch_count=20)
    count, total = rounds * len(SIZES), 0
    for number in range(count):
        out.basic_publish("", "numbers", body(number), mandatory=True)
        total += len(body(number))
    for number, (method, _, got) in enumerate(into.consume("numbers", inactivity_timeout=30)):
        assert method is not None and got == body(number), f"message {number}"
        into.basic_ack(method.delivery_tag)
        if number == count - 1:
            break
    into.cancel()
    assert out.basic_get("numbers") == (None, None, None)
    # A mistake ends the channel, and the connection lives on.
    try:
        out.basic_publish("no such exchange", "", b"x")
        out.queue_declare("numbers", passive=True)
        raise AssertionError("no error")
    except pika.exceptions.ChannelClosed as error:
        code = error.reply_code
    assert publisher.channel().queue_declare("numbers", passive=True).method.message_count == 0
    publisher.close()
    consumer.close()
    return {"answers": count, "bytes": 2 * total, "code": code}


print(json.dumps(check(int(sys.argv[1]), int(sys.argv[2]))))
