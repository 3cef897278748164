# SPDX-License-Identifier: BSD-2-Clause
"""Statistics of A B B A trials: pure functions, no I/O, every random choice seeded.

A trial is a list of blocks; a block holds the runs [A, B, B, A] of one value each. Drift that is linear over a block falls
on both arms alike, so ratios are taken block by block: mean of the B runs / mean of the A runs.
"""
import random
from collections import namedtuple

ORDER = ("A", "B", "B", "A")
Ratio = namedtuple("Ratio", "value low high")


def median(values):
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def percentile(values, part):
    """The value that `part` (0..1) of all do not exceed; no interpolation."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def block_ratio(block):
    """B / A of one block: four values in the order of ORDER."""
    plain = [value for arm, value in zip(ORDER, block) if arm == "A"]
    treated = [value for arm, value in zip(ORDER, block) if arm == "B"]
    if len(block) != len(ORDER) or min(plain) <= 0:
        raise ValueError(f"not a block: {block}")
    return (sum(treated) / len(treated)) / (sum(plain) / len(plain))


def ratio(blocks, confidence=0.95, resamples=2000, seed=1):
    """Median of the blocks' ratios, with its bootstrap interval over blocks (one block: no interval, low = high = value)."""
    ratios = [block_ratio(block) for block in blocks]
    value = median(ratios)
    if len(ratios) < 2:
        return Ratio(value, value, value)
    source = random.Random(seed)
    medians = sorted(median(source.choices(ratios, k=len(ratios))) for _ in range(resamples))
    cut = (1 - confidence) / 2
    return Ratio(value, percentile(medians, cut), percentile(medians, 1 - cut))


def difference(blocks):
    """Median over blocks of mean B - mean A; for costs in ns, where the ratio says little."""
    return median([(b1 + b2) / 2 - (a1 + a2) / 2 for a1, b1, b2, a2 in blocks])


def arm_median(blocks, arm):
    return median([value for block in blocks for name, value in zip(ORDER, block) if name == arm])
