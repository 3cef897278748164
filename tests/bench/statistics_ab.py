# SPDX-License-Identifier: BSD-2-Clause
"""Statistics of A B B A trials for Python: helper/cli/statistics*.c, the module of `smaccel ab`, through ctypes.

A trial is a list of blocks; a block holds the runs [A, B, B, A] of one value each. Drift that is linear over a block falls
on both arms alike, so ratios are taken block by block: mean of the B runs / mean of the A runs. What the numbers are and why is
said in the C files; here values only change their form. Every random choice is seeded.
"""
import ctypes
import math
import os
from collections import namedtuple
from pathlib import Path

ORDER = ("A", "B", "B", "A")
BLOCKS_MIN = 6  # STATISTICS_BLOCKS_MIN: below, an interval is only the smallest and the largest block
Ratio = namedtuple("Ratio", "value low high")
VERDICTS = ("not-enough-data", "faster", "slower", "no-difference")

_BUILD = Path(os.environ.get("SMACCEL_BUILD", Path(__file__).resolve().parent.parent.parent / "build"))
_DOUBLES = ctypes.POINTER(ctypes.c_double)


class _Interval(ctypes.Structure):
    _fields_ = [("value", ctypes.c_double), ("low", ctypes.c_double), ("high", ctypes.c_double),
                ("error", ctypes.c_double), ("is_interval", ctypes.c_bool)]


class _Rule(ctypes.Structure):
    _fields_ = [("confidence", ctypes.c_double), ("margin", ctypes.c_double), ("higher_is_better", ctypes.c_bool)]


def _load():
    path = _BUILD / "tests/bench/libstatistics.so"
    if not path.exists():
        raise ImportError(f"{path} is missing: run make tests first")
    library = ctypes.CDLL(str(path))
    sized = [_DOUBLES, ctypes.c_size_t]
    for name, result, arguments in (
            ("sort", None, sized),
            ("quantile", ctypes.c_double, sized + [ctypes.c_double]),
            ("median", ctypes.c_double, sized),
            ("log_ratio", ctypes.c_double, sized + sized),
            ("interval", _Interval, sized + [ctypes.c_double, ctypes.c_uint, ctypes.c_uint64]),
            ("signed_rank", ctypes.c_double, sized),
            ("mann_whitney", ctypes.c_double, sized + sized),
            ("decide", ctypes.c_int, [ctypes.POINTER(_Interval), ctypes.c_double, ctypes.POINTER(_Rule)])):
        function = getattr(library, f"statistics_{name}")
        function.restype, function.argtypes = result, arguments
    return library


_library = _load()


def _doubles(values):
    values = list(values)
    return (ctypes.c_double * len(values))(*values), len(values)


def _sorted(values):
    array, count = _doubles(values)
    if not count:
        raise ValueError("no values")
    _library.statistics_sort(array, count)
    return array, count


def median(values):
    return _library.statistics_median(*_sorted(values))


def percentile(values, part):
    """The value that `part` (0..1) of all do not exceed; no interpolation."""
    return _library.statistics_quantile(*_sorted(values), part)


def _arm(block, wanted):
    return [value for arm, value in zip(ORDER, block) if arm == wanted]


def _log_ratio(block):
    if len(block) != len(ORDER) or min(_arm(block, "A")) <= 0:
        raise ValueError(f"not a block: {block}")
    return _library.statistics_log_ratio(*_doubles(_arm(block, "A")), *_doubles(_arm(block, "B")))


def block_ratio(block):
    """B / A of one block: four values in the order of ORDER."""
    return math.exp(_log_ratio(block))


def _interval(blocks, confidence, resamples, seed):
    return _library.statistics_interval(*_doubles(_log_ratio(block) for block in blocks), confidence, resamples, seed)


def ratio(blocks, confidence=0.95, resamples=2000, seed=1):
    """B / A over the blocks with its bootstrap interval; of fewer than BLOCKS_MIN blocks: median, smallest and largest."""
    interval = _interval(blocks, confidence, resamples, seed)
    return Ratio(math.exp(interval.value), math.exp(interval.low), math.exp(interval.high))


def rank_test(blocks):
    """Wilcoxon's signed rank test over the blocks: two-sided p."""
    return _library.statistics_signed_rank(*_doubles(_log_ratio(block) for block in blocks))


def verdict(blocks, higher_is_better=False, margin=0.02, confidence=0.95, resamples=2000, seed=1):
    """One of VERDICTS, as `smaccel ab` gives it."""
    interval = _interval(blocks, confidence, resamples, seed)
    rule = _Rule(confidence, margin, higher_is_better)
    return VERDICTS[_library.statistics_decide(ctypes.byref(interval), rank_test(blocks), ctypes.byref(rule))]


def difference(blocks):
    """Median over blocks of mean B - mean A; for costs in ns, where the ratio says little."""
    return median([(b1 + b2) / 2 - (a1 + a2) / 2 for a1, b1, b2, a2 in blocks])


def arm_median(blocks, arm):
    return median([value for block in blocks for name, value in zip(ORDER, block) if name == arm])
