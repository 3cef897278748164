# SPDX-License-Identifier: BSD-2-Clause
"""The benchmark's statistics on numbers whose answer is known."""
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))

import statistics_ab as statistics  # noqa: E402


def noisy_blocks(count, factor, seed, noise=0.05, drift=0.0):
    source = random.Random(seed)
    blocks = []
    for _ in range(count):
        level = source.uniform(80, 120)
        blocks.append([level * (factor if arm == "B" else 1) * source.uniform(1 - noise, 1 + noise) + drift * place
                       for place, arm in enumerate(statistics.ORDER)])
    return blocks


def test_median_and_percentile():
    assert statistics.median([3, 1, 2]) == 2
    assert statistics.median([4, 1, 2, 3]) == 2.5
    assert statistics.percentile(range(100), 0.99) == 98  # as histogram_percentile(), not the largest
    assert statistics.percentile([7], 0.5) == 7
    with pytest.raises(ValueError):
        statistics.median([])


def test_block_ratio_ignores_linear_drift():
    assert statistics.block_ratio([100, 200, 200, 100]) == 2
    assert statistics.block_ratio([100, 110, 120, 130]) == 1
    with pytest.raises(ValueError):
        statistics.block_ratio([100, 110, 120])
    with pytest.raises(ValueError):
        statistics.block_ratio([0, 110, 120, 130])


def test_ratio_of_one_block_has_no_interval():
    ratio = statistics.ratio([[1, 2, 2, 1]])
    assert ratio == (2, 2, 2)


def test_ratio_interval_holds_the_truth():
    """At 95 %: 92 of 100 seeded trials is the least allowed."""
    held = 0
    for seed in range(100):
        ratio = statistics.ratio(noisy_blocks(10, 0.9, seed), resamples=400)
        assert 0.8 < ratio.value < 1.0
        held += ratio.low <= 0.9 <= ratio.high
    assert held >= 92


def test_verdict_and_rank_test():
    assert statistics.verdict(noisy_blocks(10, 0.8, 1)) == "faster"
    assert statistics.verdict(noisy_blocks(10, 0.8, 1), higher_is_better=True) == "slower"
    assert statistics.verdict(noisy_blocks(10, 1.0, 1, noise=0.002)) == "no-difference"
    assert statistics.verdict(noisy_blocks(3, 0.5, 1)) == "not-enough-data"
    assert statistics.rank_test(noisy_blocks(10, 0.8, 1)) == pytest.approx(2 / 2**10)


def test_difference_is_in_the_units_of_the_values():
    assert statistics.difference([[100, 120, 120, 100], [100, 110, 110, 100], [50, 65, 65, 50]]) == 15


def test_arm_median_separates_the_arms():
    blocks = [[1, 10, 11, 2], [3, 12, 13, 4]]
    assert statistics.arm_median(blocks, "A") == 2.5
    assert statistics.arm_median(blocks, "B") == 11.5
