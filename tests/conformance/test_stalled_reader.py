# SPDX-License-Identifier: BSD-2-Clause
"""The stalled reader (invariant 4): the sender stops where the bound and plain TCP say, and after 7 to 11 s nothing waits for a
retransmission timer.

One that had backed off would fire 0.2, 0.6, 1.4, 3.0, 6.2 and 12.6 s after the first drop (fact 12a): whoever waits for it then waits
for more than a second.

All cases run side by side, each in a network namespace of its own, whose counters are its own. A plain and an accelerated
run of each; the plain one is the measure.
"""
import time

import pytest

from support.namespaces import Netns, tcp_memory_pages
from support.program import EAGER, PLAIN, Program, auto, built

STALL_MS = 7_000
STAGGER_MS = 120  # not all wake at once: two cores
STALLED_S = (4, 6.5)  # all of them, since the first began
TIMER_US = 500_000
MEBI = 1 << 20
RMEM_SMALL = "4096 131072 6291456"
RMEM_TINY = "4096 131072 1048576"
RMEM_MIDDLE = "4096 131072 {}"
CASES = {
    # name: (SO_RCVBUF or 0, blocking sender, tcp_rmem of the namespace or None: the host's, what TCP lets the buffer grow to before or 0)
    "64k": (65536, 0, None, 0),
    "64k-blocking": (65536, 1, None, 0),
    "256k": (262144, 0, None, 0),
    "256k-blocking": (262144, 1, None, 0),
    "autotuned": (0, 0, None, 0),
    "autotuned-blocking": (0, 1, None, 0),
    "autotuned-6m": (0, 0, RMEM_SMALL, 0),
    "autotuned-1m": (0, 0, RMEM_TINY, 0),
    "256k-filled": (262144, 0, None, 2 * 262144),
    "2m-filled": (2 * MEBI, 0, None, 4 * MEBI),
    "autotuned-6m-filled": (0, 0, RMEM_SMALL, 6 * MEBI),
    "autotuned-3m-filled": (0, 0, RMEM_MIDDLE.format(3 * MEBI), 3 * MEBI),
    "autotuned-2m-filled": (0, 0, RMEM_MIDDLE.format(2 * MEBI), 2 * MEBI),
    "autotuned-1.5m-filled": (0, 0, RMEM_MIDDLE.format(3 * MEBI // 2), 3 * MEBI // 2),
    "autotuned-1m-filled": (0, 0, RMEM_TINY, MEBI),
}
ARMS = [PLAIN, EAGER, auto(4)]


def start(name, arm, index, helper, netns):
    rcvbuf, blocking, rmem, filled = CASES[name]
    if rmem:
        netns.run("sh", "-c", f"echo {rmem} > /proc/sys/net/ipv4/tcp_rmem")
    return Program([built("conformance/stalled_reader"), f"rcvbuf={rcvbuf}", f"blocking={blocking}", f"filled={filled}",
                    f"stall_ms={STALL_MS + index * STAGGER_MS}", "deadline=60"], arm, helper.socket, netns)


@pytest.fixture(scope="module")
def runs(helper):
    """{(case, arm): result}, with the namespace's counters, the memory of the host and the helper's counters."""
    namespaces, programs, results = [], {}, {}
    before = helper.totals()
    try:
        for name in CASES:
            for arm in ARMS:
                namespaces.append(Netns().__enter__())
                programs[name, arm.name] = start(name, arm, len(programs), helper, namespaces[-1])
        begun, pages = time.monotonic(), []
        for moment in STALLED_S:
            time.sleep(max(0, begun + moment - time.monotonic()))
            pages.append(tcp_memory_pages())
        for (key, program), netns in zip(programs.items(), namespaces):
            results[key] = program.result(60)
            results[key]["netstat"] = netns.netstat()
    finally:
        for program in programs.values():
            program.end()
        for netns in namespaces:
            netns.__exit__()
    after = helper.totals()
    results["pages"] = pages
    results["grown"] = {key: after[key] - before[key] for key in ("redirected_bytes", "pairs_armed_total", "spills")}
    return results


def bound(name):
    """What may be redirected and unread on top of what plain TCP holds (fact 12b)."""
    rcvbuf, _, rmem, _ = CASES[name]
    if rcvbuf:
        return rcvbuf * 2 // 4
    with open("/proc/sys/net/ipv4/tcp_rmem") as file:
        return int((rmem or file.read()).split()[2])


accelerated = pytest.mark.parametrize("arm", [arm.name for arm in ARMS if arm.accelerated])
every_case = pytest.mark.parametrize("name", CASES)


def test_connections_armed(runs):
    """All but those with 64 KiB buffers redirect: else the rest of this file shows nothing."""
    assert runs["grown"]["pairs_armed_total"] >= 2 * len(CASES), runs["grown"]  # a stream of small writes leaves, and comes back
    assert runs["grown"]["redirected_bytes"] > 0, runs["grown"]


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name][3]])
def test_small_messages_redirect_whatever_the_window(runs, name):
    """A buffer that TCP has filled once promises all of it to TCP, as long as nothing passes."""
    fast = runs[name, "auto4"]
    assert fast["buffer"] >= CASES[name][3] / 2, fast  # an auto-tuned one grows as the reader's pauses fall
    assert fast["redirects"], fast


@every_case
@accelerated
def test_sender_stops(runs, name, arm):
    plain, fast = runs[name, "plain"], runs[name, arm]
    # plain TCP's own figure depends on how segments and buffers fall: a quarter, and some, to both sides
    limit = plain["stalled"] * 1.25 + MEBI + bound(name)
    assert fast["stalled"] <= limit, f"{fast['stalled']} bytes went out against a sleeping reader; plain: {plain}"
    assert fast["stalled"] == fast["early"], f"the sender went on: {fast}"


@every_case
@accelerated
def test_pollout_clears(runs, name, arm):
    fast = runs[name, arm]
    assert fast["samples"] > 25 and runs[name, "plain"]["writable"] == 0
    if not CASES[name][1]:
        assert fast["writable"] == 0, f"POLLOUT was set in {fast['writable']} of {fast['samples']} samples: {fast}"


@every_case
@accelerated
def test_memory_is_bounded(runs, name, arm):
    plain, fast = runs[name, "plain"], runs[name, arm]
    held = fast["receive_memory"] + fast["send_memory"]
    limit = (plain["receive_memory"] + plain["send_memory"]) * 1.25 + MEBI + bound(name)
    assert held <= limit, f"{held} bytes held, at most {limit:.0f} expected: {fast}"


def test_host_tcp_memory_does_not_grow(runs):
    early, late = runs["pages"]
    # Not so many that others on the host, or one that began late, would count; one that goes on gets rid of more in a moment.
    assert late - early <= 8192, f"TCP memory grew from {early} to {late} pages while all readers slept"


@every_case
@accelerated
def test_every_byte_comes_without_a_timer_stall(runs, name, arm):
    plain, fast = runs[name, "plain"], runs[name, arm]
    assert fast["total"] == fast["expected"]
    assert fast["longest_us"] <= plain["longest_us"] + TIMER_US, \
        f"{fast['longest_us']} us without a byte at {fast['longest_at']} (plain: {plain['longest_us']}): {fast}"
    assert fast["first_us"] <= plain["first_us"] + TIMER_US, f"the first byte took {fast['first_us']} us"


@every_case
@accelerated
def test_no_more_timeouts_than_plain(runs, name, arm):
    plain, fast = runs[name, "plain"]["netstat"], runs[name, arm]["netstat"]
    assert fast["TCPTimeouts"] <= plain["TCPTimeouts"], {
        key: (plain[key], fast[key]) for key in ("TCPTimeouts", "RcvPruned", "TCPRcvQDrop", "TCPRcvCollapsed") if key in fast}
