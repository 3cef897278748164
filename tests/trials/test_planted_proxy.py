# SPDX-License-Identifier: BSD-2-Clause
"""Planted differences over real connections (planted.py), in short: `make check-planted` runs 100 seeds of each.

The bounds are those that hold on a busy machine: a difference of 5 % or 20 % is hardly ever missed, a wrong sign is never right, and two
false alarms in three trials would come by chance in one of 130 runs of this test, were it not for the margin, which makes them rare.
"""
import os

import planted
import pytest

CPU = max(os.sched_getaffinity(0))


@pytest.mark.parametrize("percent, rounds, requests, trials, found", [(5, 6, 60, 4, 3), (20, 6, 20, 4, 3)])
def test_a_delay_of_a_real_proxy_is_found(percent, rounds, requests, trials, found):
    """A trial that a busy machine leaves undecided is right to be so: as many again may take place until enough are decided."""
    seen = []
    for seed in range(1, 2 * trials + 1):
        seen.append(planted.trial(percent, seed, CPU, rounds, requests))
        summary = planted.summarize(percent, seen)
        if len(seen) >= trials and summary["slower"] >= found:
            break
    assert summary["slower"] >= found and summary["faster"] == 0 and summary["none"] <= 1, planted.line(summary)


def test_a_proxy_without_a_delay_is_no_difference():
    summary = planted.summarize(0, [planted.trial(0, seed, CPU) for seed in range(1, 4)])
    assert summary["slower"] + summary["faster"] <= 1, planted.line(summary)
