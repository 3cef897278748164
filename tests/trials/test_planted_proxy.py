# SPDX-License-Identifier: BSD-2-Clause
"""Planted differences over real connections (planted.py), in short: `make check-planted` runs 100 seeds of each.

The bounds are those that hold on a busy machine: a difference of 5 % or 20 % is hardly ever missed, a wrong sign is never right, and two
false alarms in five trials would come by chance in one of 45 runs of this test, were it not for the margin, which makes them rare.
"""
import concurrent.futures
import multiprocessing
import os

import planted
import pytest

CASES = [(2, 12, 60, 3, 2), (5, 6, 60, 6, 5), (20, 6, 20, 6, 5)]
NONE = (0, planted.ROUNDS, planted.REQUESTS, 5)


def use_cpu(cpus):
    planted_on.cpu = cpus.get()


def planted_on(percent, rounds, requests, seed):
    """In a process of its own: its trials, one after the other, are on one CPU."""
    return planted.trial(percent, seed, planted_on.cpu, rounds, requests)


@pytest.fixture(scope="module")
def reports():
    """{(percent, rounds, requests): [what becomes the report of a trial]}; there is one at a time on each CPU."""
    cpus = multiprocessing.Queue()
    count = len(os.sched_getaffinity(0))
    for cpu in os.sched_getaffinity(0):
        cpus.put(cpu)
    with concurrent.futures.ProcessPoolExecutor(count, initializer=use_cpu, initargs=(cpus,)) as pool:
        yield {(percent, rounds, requests): [pool.submit(planted_on, percent, rounds, requests, seed) for seed in range(1, trials + 1)]
               for percent, rounds, requests, trials, *_ in (*CASES, NONE)}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("percent, rounds, requests, trials, found", CASES)
def test_a_delay_of_a_real_proxy_is_found(reports, percent, rounds, requests, trials, found):
    summary = planted.summarize(percent, [report.result() for report in reports[percent, rounds, requests]])
    assert summary["trials"] == trials and summary["slower"] >= found and summary["faster"] == 0, planted.line(summary)


def test_a_proxy_without_a_delay_is_no_difference(reports):
    summary = planted.summarize(0, [report.result() for report in reports[NONE[:3]]])
    assert summary["slower"] + summary["faster"] <= 1, planted.line(summary)
