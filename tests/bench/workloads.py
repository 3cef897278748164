# SPDX-License-Identifier: BSD-2-Clause
"""What the benchmark measures: each workload as data, and how one run of it is made.

A run is the same command in either arm; only the environment differs. Its result is a dict of numbers.
"""
import contextlib
import csv
import io
import json
import os
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Workload:
    name: str
    measure: str                # the number that the ratio is of
    goal: str                   # "<= 0.62", ">= 1.3": of the ratio; "+20": at most so much more, in the measure's unit
    unit: str                   # how it is shown: "us" (from ns), "ns", "MB/s", "1/s"
    command: tuple = ()         # a program of tests/bench with its arguments; none: redis
    cpus: tuple = (0, 0)        # client, server
    tail: str = ""              # the number shown as p99, in the same unit
    admit: str = "auto"         # SMACCEL_ADMIT of the accelerated arm
    redirects: bool = True      # the accelerated arm must redirect; False: it must not
    options: dict = field(default_factory=dict)


WORKLOADS = [
    Workload("ping-pong 64 B, one core", "median_ns", "<= 0.62", "us", ("pingpong", "--size", "64"), (0, 0), "p99_ns"),
    Workload("ping-pong 64 B, two cores", "median_ns", "<= 0.90", "us", ("pingpong", "--size", "64"), (0, 1), "p99_ns"),
    Workload("stream 64 KiB, one core", "bytes_per_second", ">= 1.3", "MB/s", ("stream", "--size", "65536"), (0, 0)),
    Workload("stream 64 KiB, two cores", "bytes_per_second", ">= 1.3", "MB/s", ("stream", "--size", "65536"), (0, 1)),
    Workload("redis GET c=50, two cores", "rps", ">= 1.15", "1/s", cpus=(1, 0), tail="p99_ms", options={"clients": 50}),
    Workload("redis GET c=50, one core", "rps", ">= 1.15", "1/s", cpus=(0, 0), tail="p99_ms", options={"clients": 50}),
    Workload("write on another fd", "write_ns", "+20", "ns", ("notours",), redirects=False),
    Workload("recv on another fd", "recv_ns", "+20", "ns", ("notours",), redirects=False),
    Workload("watched only, ping-pong 64 B", "median_ns", "<= 1.01", "us", ("pingpong", "--size", "64"), (0, 0), "p99_ns",
             admit="1000000", redirects=False),
]


class Failed(Exception):
    """A run that gave no number."""


def run_program(folder, workload, seconds, environment):
    command = [str(folder / workload.command[0]), *workload.command[1:], "--seconds", str(seconds),
               "--client-cpu", str(workload.cpus[0]), "--server-cpu", str(workload.cpus[1])]
    return json.loads(finished(command, environment, seconds + 30))


def finished(command, environment, seconds):
    """The standard output of a command that must end well within `seconds`."""
    try:
        done = subprocess.run(command, env=environment, timeout=seconds, capture_output=True, text=True)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{command[0]}: not done after {seconds:.0f} s") from late
    if done.returncode:
        raise Failed(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_listening(port, process, seconds=5):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        if process.poll() is not None:
            raise Failed(f"redis-server ended with {process.returncode}")
        time.sleep(0.02)
    raise Failed("redis-server does not listen")


@contextlib.contextmanager
def redis_server(cpu, environment):
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="smaccel-bench-") as folder:
        process = subprocess.Popen(
            ["taskset", "-c", str(cpu), "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", "no", "--dir", folder, "--loglevel", "warning"],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_listening(port, process)
            yield port
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def run_redis(workload, seconds, environment):
    """Two runs of redis-benchmark against a fresh server: a short one finds the number of requests for `seconds`."""
    with redis_server(workload.cpus[1], environment) as port:
        def benchmark(requests):
            command = ["taskset", "-c", str(workload.cpus[0]), "redis-benchmark", "-p", str(port), "-c",
                       str(workload.options["clients"]), "-n", str(requests), "-t", "get", "-d", "64", "--csv"]
            return parse_redis(finished(command, environment, seconds * 5 + 30))
        rate = benchmark(5000)["rps"]
        return benchmark(max(5000, int(rate * seconds)))


def parse_redis(text):
    rows = list(csv.DictReader(io.StringIO(text[text.index('"test"'):])))
    return {"rps": float(rows[0]["rps"]), "median_ms": float(rows[0]["p50_latency_ms"]),
            "p99_ms": float(rows[0]["p99_latency_ms"])}


def run_once(folder, workload, seconds, environment):
    if workload.command:
        return run_program(folder, workload, seconds, environment)
    return run_redis(workload, seconds, environment)


def usable(workload):
    """A reason not to run it here, or ''."""
    cpus = os.sched_getaffinity(0)
    missing = [cpu for cpu in workload.cpus if cpu not in cpus]
    return f"takes CPU {missing[0]}" if missing else ""
