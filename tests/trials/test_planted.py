# SPDX-License-Identifier: BSD-2-Clause
"""Differences that were planted are found, with the right sign; none is found where there is none. Here the latencies are drawn, so
that the figures of the seeds are the same on every machine; test_planted_proxy.py measures them over real connections.

Each trial is a whole `smaccel ab`: 6 or 10 rounds of runs of a program that prints latencies drawn from a seeded distribution (a level
that wanders from run to run, 2,000 log-normal requests on it) and multiplies them by PLANTED in its environment, which only arm B has.
Of many seeds each; at a stated confidence of 95 % at least 95 in 100 must find what is there, and at most 5 in 100 what is not.
"""
import concurrent.futures

import ab
import pytest
from support.scale import scaled

TRIALS = scaled(12)
NOISE = 0.005


def trial(directory, seed, *arguments):
    """One trial: its report."""
    return ab.run_json("--quiet", "--warmup", 0, "--seed", seed, "--metric", "latency:us=p50 ([0-9.]+)", *arguments,
                       "--", ab.DRAWN, directory / f"runs-{seed}", seed, NOISE)


def trials(directory, *arguments):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda seed: trial(directory, seed, *arguments), range(1, TRIALS + 1)))


def count(reports):
    verdicts = [report["verdict"] for report in reports]
    return {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))}


def covered(reports, truth):
    """How many intervals hold the truth."""
    return sum(r["metrics"][0]["ratio"]["low"] <= truth <= r["metrics"][0]["ratio"]["high"] for r in reports)


@pytest.mark.parametrize("factor,rounds,verdict", [(1.02, 10, "slower"), (1 / 1.05, 6, "faster")])
def test_a_planted_difference_is_found(tmp_path, factor, rounds, verdict):
    reports = trials(tmp_path, "--env-only", "--margin", 1, "--rounds", rounds, "--b-env", f"PLANTED={factor}")
    assert count(reports).get(verdict, 0) >= 0.95 * TRIALS, count(reports)
    assert covered(reports, factor) >= 0.9 * TRIALS


def test_no_difference_is_called_none(tmp_path):
    """--aa; at a margin of 2 % these trials are long enough to say so, too."""
    reports = trials(tmp_path, "--aa", "--rounds", 10)
    verdicts = count(reports)
    assert verdicts.get("faster", 0) + verdicts.get("slower", 0) <= 0.05 * TRIALS, verdicts
    assert verdicts.get("no-difference", 0) >= 0.95 * TRIALS, verdicts
    assert covered(reports, 1) >= 0.9 * TRIALS


def test_without_a_margin_to_hide_in_the_error_rate_is_kept(tmp_path):
    """A margin below the noise: nothing can be called equal, so what is left over is the error rate of the difference alone. With as few
    rounds as can decide at all."""
    reports = trials(tmp_path, "--aa", "--rounds", 6, "--margin", 0.1)
    verdicts = count(reports)
    assert verdicts.get("faster", 0) + verdicts.get("slower", 0) <= 0.05 * TRIALS, verdicts
    assert all(1 <= r["metrics"][0]["rounds_missing"] for r in reports if r["verdict"] == "not-enough-data"
               and r["metrics"][0]["rounds_missing"] is not None)


def test_the_same_seed_gives_the_same_report(tmp_path):
    """All but what the clock says."""
    first, second = (trial(tmp_path / name, 3, "--aa", "--rounds", 6) for name in ("one", "two")
                     if not (tmp_path / name).mkdir())
    assert first["metrics"][0] == second["metrics"][0]
