# SPDX-License-Identifier: BSD-2-Clause
"""Order (invariant 1): whatever the way of reading, writing, joining and spilling, every byte is where it belongs.

The matrix is CASES: an arm (when connections join), one process or two, the helper's bound, the mix, and the share of the
volume, which SMACCEL_TEST_SCALE multiplies. The last test takes the gate's sequence test out and must see bytes out
of order: it proves that the others can fail.
"""
from dataclasses import dataclass, field

import contextlib

import pytest

from support.helper import Helper
from support.program import EAGER, PLAIN, Program, auto, built
from support.proof import proved
from support.scale import scaled

VOLUME = scaled(8) * 1e9
DEADLINE = 150
CONNECTIONS = 64


@dataclass
class Case:
    name: str
    arm: object
    share: float                   # of VOLUME
    processes: bool = False
    bound: int = 0                 # bytes, --test-bound; 0: the helper's own
    redirected: float = 0.0        # at least that part of the bytes must be redirected
    options: list = field(default_factory=list)


LOOPS = ["styles=loop,duplex", "readers=edge,edge-short,level,poll"]
CASES = [
    Case("plain-threads", PLAIN, 0.03),
    Case("plain-processes", PLAIN, 0.02, processes=True),
    Case("eager-threads", EAGER, 0.20, redirected=0.2),
    Case("eager-processes", EAGER, 0.20, processes=True, redirected=0.2),
    Case("auto1-threads", auto(1), 0.12, redirected=0.05),
    Case("auto1-processes", auto(1), 0.07, processes=True, redirected=0.05),
    Case("auto8-threads", auto(8), 0.08, redirected=0.05),
    Case("auto8-processes", auto(8), 0.08, processes=True, redirected=0.05),
    Case("eager-edges", EAGER, 0.05, redirected=0.05, options=LOOPS),
    Case("eager-turns", EAGER, 0.04, redirected=0.2, options=["styles=turns"]),
    # writes of about the bound's size: it spills, drains, and redirects again all the time
    Case("eager-threads-bound4k", EAGER, 0.005, bound=4096, redirected=0.05, options=["write_max=2048"]),
    Case("auto1-processes-bound4k", auto(1), 0.005, bound=4096, processes=True, redirected=0.02,
         options=["write_max=2048"]),
    Case("eager-threads-bound64k", EAGER, 0.02, bound=65536, redirected=0.05, options=["write_max=16384"]),
    Case("auto8-processes-bound64k", auto(8), 0.02, bound=65536, processes=True, redirected=0.02,
         options=["write_max=16384"]),
    Case("eager-processes-bound1m", EAGER, 0.02, bound=1 << 20, processes=True, redirected=0.05),
    Case("auto1-threads-bound1m", auto(1), 0.04, bound=1 << 20, redirected=0.02),
]
assert abs(sum(case.share for case in CASES) - 1) < 1e-9


def order_options(volume, seed, *more):
    each = max(int(volume / CONNECTIONS / 2), 100_000)
    return [f"seed={seed}", f"connections={CONNECTIONS}", "concurrency=8", f"bytes={each}", f"deadline={DEADLINE}", *more]


def run_order(arm, processes, options, socket, expect=(0,)):
    """All connections of one run; [results], one a process."""
    program = built("conformance/order")
    if not processes:
        with Program([program, "threads", *options], arm, socket) as both:
            assert both.wait(DEADLINE + 30) in expect, both.describe()
            return [both.json()]
    with Program([program, "server", *options], arm, socket) as server:
        port = server.wait_output("port ")
        with Program([program, "client", f"port={port}", *options], arm, socket) as client:
            status = client.wait(DEADLINE + 30)
            if status not in expect:
                server.end()
            assert status in expect, f"{client.describe()}\n{server.describe()}"
            assert server.wait(30) in expect, f"{server.describe()}\n{client.describe()}"
            return [client.json(), server.json()]


@pytest.fixture(scope="module")
def helper_with():
    """helper_with(bound): one for all cases of that bound, for a start takes most of a second."""
    with contextlib.ExitStack() as stack:
        helpers = {}

        def with_bound(bound):
            if bound not in helpers:
                helpers[bound] = stack.enter_context(Helper(*(["--test-bound", bound] if bound else [])))
            return helpers[bound]
        yield with_bound


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_order(case, helper_with):
    volume = VOLUME * case.share
    options = order_options(volume, 1000 + CASES.index(case), *case.options)
    with contextlib.nullcontext(helper_with(case.bound)) as helper:
        with helper.counting() as grown:
            results = run_order(case.arm, case.processes, options, helper.socket)
        verified = sum(result["bytes"] for result in results)
        print(f"{case.name}: {verified / 1e9:.2f} GB in {results[0]['seconds']:.1f} s, redirected "
              f"{grown['redirected_bytes'] / 1e9:.2f} GB, spills {grown['spills']}")
        assert verified >= volume * 0.99
        if not case.arm.accelerated:
            assert grown["sockets_joined"] == 0 and grown["redirected_bytes"] == 0, grown
            return
        proved(grown["redirected_bytes"] >= verified * case.redirected, lambda: f"{grown}\n{helper.explain()}")
        assert grown["redirected_bytes"] + grown["passed_bytes"] <= verified * 1.01 + 1e6, grown
        if case.bound:
            proved(grown["spills"] > 0, f"the bound was never reached: {grown}")


def test_order_fails_without_the_sequence_test():
    """Mutation: the gate without invariant 1 must be caught, or the test above shows nothing."""
    with Helper("--test-no-order", "--test-bound", 65536) as helper:
        for seed in range(5):
            with helper.counting() as grown:
                results = run_order(EAGER, False, order_options(3e8, seed), helper.socket, expect=(0, 1, 3))
            if results[0]["mismatches"]:
                proved(grown["redirected_bytes"] > 0)
                return
    pytest.fail("no byte out of order in five runs without the gate's sequence test")
