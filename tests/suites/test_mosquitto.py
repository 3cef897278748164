# SPDX-License-Identifier: BSD-2-Clause
"""mosquitto: publishers and subscribers at every quality of service, retained messages, large payloads, a will after a kill."""
import signal

from stage import checksum, random_file
from support.apps import wait_until

CONFIGURATION = """
listener {port} 127.0.0.1
allow_anonymous true
user nobody
max_queued_messages 0
log_type all
log_dest stderr
"""


def messages(count, size):
    def workload(stage):
        port = stage.port()
        configuration = stage.write("mosquitto.conf", CONFIGURATION.format(port=port))
        broker = stage.serve(port, "mosquitto", "-c", configuration)
        at = ["-h", "127.0.0.1", "-p", port]

        def subscribe(topic, *options, **more):
            seen = broker.err.count("Sending SUBACK")
            program = stage.start("mosquitto_sub", *at, "-t", topic, *options, **more)
            wait_until(lambda: broker.err.count("Sending SUBACK") > seen, 5, program.describe)
            return program
        readers = {qos: subscribe(f"numbers/{qos}", "-q", qos, "-C", count) for qos in (0, 1, 2)}
        will = subscribe("will", "-C", 1)
        large = subscribe("large", "-q", 1, "-C", 1, "-N")
        lines = "".join(f"message {number} {'x' * (number % 500)}\n" for number in range(count))
        for qos in readers:
            stage.run("mosquitto_pub", *at, "-q", qos, "-t", f"numbers/{qos}", "-l", text=lines, timeout=60)
        for program in readers.values():
            assert program.wait(30) == 0 and program.out == lines, program.describe()

        payload = random_file(stage.directory / "payload", size)
        stage.run("mosquitto_pub", *at, "-q", 1, "-t", "large", "-f", payload, timeout=30)
        assert large.wait(30) == 0, large.describe()
        back = checksum_of(large)
        stage.run("mosquitto_pub", *at, "-r", "-t", "kept", "-m", "retained")
        kept = stage.run("mosquitto_sub", *at, "-t", "kept", "-C", 1).out

        dying = subscribe("nothing", "--will-topic", "will", "--will-payload", "died")
        stage.stop(dying, signal.SIGKILL)
        assert will.wait(10) == 0, will.describe()
        stage.stop(broker)
        return checksum(payload), back, kept, will.out, len(lines)
    return workload


def checksum_of(program):
    """Of its output, which may be no text."""
    import hashlib
    program.files[0].seek(0)
    return hashlib.sha256(program.files[0].buffer.read()).hexdigest()


def test_mosquitto(compare, long):
    count, size = (20_000, 50_000_000) if long else (1_000, 1_000_000)
    sent, received, *_ = compare(messages(count, size), redirected=0.1 * size)
    assert sent == received
