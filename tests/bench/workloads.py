# SPDX-License-Identifier: BSD-2-Clause
"""What the benchmark measures: each workload as data, with the goals that it has."""
import applications
import programs
import watching
from model import Goal, Workload

CORES = {"one core": (0, 0), "two cores": (0, 1), "unpinned": (-1, -1)}     # client, server
ALL = ("plain", "auto", "eager", "unix", "bypass")
FEW = ("plain", "auto", "unix", "bypass")
SMACCEL = ("plain", "auto", "eager")
STREAMS = ("plain", "auto", "eager", "unix")    # the bypass has no bound: a stream may fill the host's TCP memory with it
QUICK = {"ping-pong 64 B, one core", "ping-pong 64 B, two cores", "stream 64 KiB, one core", "stream 64 KiB, two cores",
         "redis GET c=50, one core", "redis GET c=50, two cores", "write on another fd", "recv on another fd"}


def size_name(size):
    return f"{size} B" if size < 1024 else f"{size // 1024} KiB"


def ping_pong_goals(size, cores, wait):
    if size > 4096 or wait != "block":
        return ()
    if cores == "one core":
        return (Goal("<= 0.55"), Goal("<= 0.92", base="unix"))
    if cores == "two cores":
        return (Goal("<= 0.80"), Goal("<= 0.10", arm="spin"))
    return ()


def ping_pongs():
    for wait in ("block", "poll", "epoll"):
        for size in (1, 64, 1024, 4096, 16384, 65536):
            for cores, cpus in CORES.items():
                how = "" if wait == "block" else f", {wait}"
                yield Workload(f"ping-pong {size_name(size)}{how}, {cores}", "pingpong", "us", "median_ns",
                               programs.Program("pingpong", size=size, wait=wait), cpus=cpus, tail="p99_ns",
                               arms=(ALL if wait == "block" else FEW) + (("spin",) if cores != "one core" else ()),
                               goals=ping_pong_goals(size, cores, wait))
    for size in (64, 4096):
        yield Workload(f"ping-pong {size_name(size)}, both spin, two cores", "pingpong", "us", "median_ns",
                       programs.Program("pingpong", size=size, wait="spin"), cpus=(0, 1), tail="p99_ns", arms=ALL,
                       goals=(Goal("<= 0.58"),))
        # Runs shorter than a second are over before the helper takes a pair out that does not pay.
        yield Workload(f"exchange {size_name(size)}, both spin, two cores", "pingpong", "us", "median_ns",
                       programs.Program("pingpong", size=size, wait="spin", exchange=1), cpus=(0, 1), tail="p99_ns", arms=FEW,
                       goals=(Goal("<= 1.03"),))


def stream_goals(size, cores, nonblocking):
    if size < 65536:
        return (Goal(">= 0.98"),)
    if nonblocking:
        return (Goal(">= 1.0"),)
    return {"one core": (Goal(">= 2.5"),), "two cores": (Goal(">= 1.3"),)}.get(cores, ())


def streams():
    for nonblocking in (0, 1):
        for size in (64, 1024, 4096, 16384, 65536, 262144):
            for cores, cpus in CORES.items():
                how = ", non-blocking" if nonblocking else ""
                yield Workload(f"stream {size_name(size)}{how}, {cores}", "stream", "MB/s", "bytes_per_second",
                               programs.Program("stream", size=size, nonblocking=nonblocking), cpus=cpus, more=True,
                               redirects=None, arms=STREAMS, goals=stream_goals(size, cores, nonblocking))


def request_responses():
    for connections in (4, 64, 512):
        for cores in ("one core", "two cores"):
            yield Workload(f"{connections} connections, 64 B, {cores}", "rr", "1/s", "per_second",
                           programs.Program("rr", connections=connections, size=64), cpus=CORES[cores], more=True,
                           tail="p99_ns", arms=ALL, seconds=2)


def short_ones():
    """Nothing may be gained here; nothing may be lost."""
    loads = [("short connections", {}), ("accept storm of 256", {"burst": 256})]
    for name, options in loads:
        for cores in ("one core", "two cores"):
            yield Workload(f"{name}, {cores}", "short", "1/s", "per_second", programs.Program("short", **options),
                           cpus=CORES[cores], more=True, tail="p99_ns", redirects=None, arms=ALL, goals=(Goal(">= 0.98"),))


def joins():
    """What bounds them is the helper: one thread, so 50 us of its CPU time are 20,000 joins a second."""
    yield Workload("joins, 4 processes a side", "joins", "1/s", "ends_per_second", programs.Program("joins", processes=4), cpus=(-1, -1),
                   more=True, tail="p99_ns", arms=("plain", "eager"), seconds=5,
                   goals=(Goal(">= 20000", arm="eager", kind="value"), Goal("<= 25", arm="eager", kind="helper us a join")))


def unshimmed_peers():
    for side in ("client", "server"):
        for cores in ("one core", "two cores"):
            common = {"cpus": CORES[cores], "redirects": False, "sides": side, "arms": SMACCEL, "tail": "p99_ns"}
            yield Workload(f"ping-pong 64 B, only the {side} shimmed, {cores}", "peers", "us", "median_ns",
                           programs.Program("pingpong", size=64), goals=(Goal("<= 1.02"),), **common)
            yield Workload(f"short connections, only the {side} shimmed, {cores}", "peers", "1/s", "per_second",
                           programs.Program("short"), more=True, goals=(Goal(">= 0.98"),), **common)


def other_costs():
    yield Workload("busy beside 10,000 idle, one core", "idle", "x", "crowded_ratio",
                   programs.Program("rr", connections=1, idle=9900), cpus=(0, 0), rounds=3, least_armed=9500, goals=(Goal("<= 1.05", kind="value"),))
    for call, what in (("write", "write on another fd"), ("read", "read on another fd"), ("recv", "recv on another fd"),
                       ("watched_recv", "recv on a watched connection")):
        yield Workload(what, "calls", "ns", f"{call}_ns", programs.Program("notours"), redirects=False,
                       arms=("plain", "auto", "again"), goals=(Goal("+20", kind="difference"),))
    yield Workload("watched only, ping-pong 64 B", "watch", "us", "median_ns", watching.Watching(size=64),
                   redirects=False, arms=("plain", "watched", "again"), goals=(Goal("<= 1.01", arm="watched"),))


WORKLOADS = [*ping_pongs(), *streams(), *request_responses(), *short_ones(), *joins(), *unshimmed_peers(), *other_costs(),
             *applications.workloads(CORES)]
assert len({w.name for w in WORKLOADS}) == len(WORKLOADS)
assert QUICK <= {w.name for w in WORKLOADS}
