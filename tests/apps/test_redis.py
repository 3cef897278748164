# SPDX-License-Identifier: BSD-2-Clause
"""redis-server, redis-benchmark and a client that checks every answer, all unmodified."""
import os
import sys
from pathlib import Path

import pytest
from support.apps import ARMS, Server, strace_counts
from support.program import AUTO, Program, run
from support.proof import proved

CHECK = Path(__file__).with_name("redis_check.py")


def redis_server(*options):
    return lambda port, directory: ["redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", directory,
                                    "--save", "", "--appendonly", "no", "--daemonize", "no", *options]


@pytest.mark.parametrize("threads", [1, 2], ids=["one-thread", "io-threads"])
@pytest.mark.parametrize("arm", ARMS, ids=str)
def test_redis_answers(helper, arm, threads):
    command = redis_server("--io-threads", threads, "--io-threads-do-reads", "yes")
    with Server(command, arm, helper.socket) as server, helper.counting() as grown:
        seen = run([sys.executable, CHECK, server.port, 1], arm, helper.socket, timeout=30)
    assert seen["answers"] > 200
    if arm.accelerated:
        proved(grown["redirected_bytes"] > 0.25 * seen["bytes"], lambda: f"{seen} {grown}\n{helper.explain()}")


@pytest.mark.parametrize("pipeline", [1, 16])
@pytest.mark.parametrize("arm", ARMS, ids=str)
def test_redis_benchmark(helper, arm, pipeline):
    requests, tests = 20000 * (1 if pipeline == 1 else 6), 3
    with Server(redis_server(), arm, helper.socket) as server, helper.counting() as grown, \
            Program(["redis-benchmark", "-h", "127.0.0.1", "-p", server.port, "-n", requests, "-c", 50, "-P", pipeline,
                     "-t", "set,get,incr", "--csv"], arm, helper.socket) as benchmark:
        assert benchmark.wait(30) == 0, benchmark.describe()
        rows = [line.split(",") for line in benchmark.out.splitlines() if line.startswith(('"SET"', '"GET"', '"INCR"'))]
        assert len(rows) == tests and all(float(row[1].strip('"')) > 0 for row in rows), benchmark.describe()
        assert "rror" not in benchmark.out + benchmark.err.replace("WARNING", ""), benchmark.describe()
    if arm.accelerated:
        # A helper that has no CPU when the connections of one of the three begin is asked again when most of it is over.
        proved(grown["redirected_msgs"] > 0.55 * 2 * tests * requests / pipeline, lambda: f"{grown}\n{helper.explain()}")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
def test_receive_that_cannot_sleep_is_not_preceded_by_a_poll(helper, tmp_path):
    """Bytes that are coming from another CPU are waited for awake; a non-blocking fd that epoll found readable needs none of that."""
    first, second = sorted(os.sched_getaffinity(0))[:2]
    requests = 6000

    def pinned_server(port, directory):
        return ["taskset", "-c", first, *redis_server()(port, directory)]

    with Server(pinned_server, AUTO, helper.socket) as server, helper.counting() as grown:
        run_traced(["taskset", "-c", second, "redis-benchmark", "-p", server.port, "-n", requests, "-c", 50, "-t", "get", "--csv"],
                   tmp_path / "counts", helper)
    counts = strace_counts(tmp_path / "counts")
    proved(grown["redirected_msgs"] > requests, lambda: f"{grown}\n{helper.explain()}")
    assert counts.get("read", 0) + counts.get("recvfrom", 0) > requests / 2, counts
    assert counts.get("poll", 0) + counts.get("fcntl", 0) < requests / 10, counts


def run_traced(command, file, helper):
    with Program(["strace", "-f", "-c", "-o", file, *command], AUTO, helper.socket) as program:
        assert program.wait(60) == 0, program.describe()
