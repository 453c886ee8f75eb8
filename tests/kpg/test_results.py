"""Statistics of several seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from kpg import results


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9, 10, 40])
def test_the_interquartile_mean_is_scipys(count: int) -> None:
    values = np.random.default_rng(count).normal(size=(3, count))
    np.testing.assert_allclose(
        results.interquartile_mean(values), stats.trim_mean(values, 0.25, axis=-1)
    )


def test_the_interquartile_mean_leaves_out_the_ends() -> None:
    assert results.interquartile_mean(np.array([-1e9, 1.0, 3.0, 1e9])) == 2.0


def test_the_interval_is_that_of_scipys_bootstrap() -> None:
    values = np.random.default_rng(0).exponential(size=20)
    theirs = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    ours = results.interval([values], lambda x: x.mean(axis=-1), resamples=20_000)
    np.testing.assert_allclose(ours, theirs, rtol=0.02)


def test_the_interval_resamples_within_tasks_only() -> None:
    # Of two tasks without any spread every resample is the same; drawn from all
    # scores alike, the mean would vary.
    tasks = [np.zeros(5), np.ones(5)]
    assert results.interval(tasks, lambda x: x.mean(axis=-1)) == (0.5, 0.5)


def test_equal_seeds_give_equal_intervals() -> None:
    values = [np.arange(10.0)]
    assert results.interval(values) == results.interval(values)
    assert results.interval(values) != results.interval(values, seed=1)


def test_a_band_is_an_interval_at_each_point() -> None:
    curves = np.random.default_rng(0).normal(size=(10, 3))
    curves[:, 1] = 7.0
    low, high = results.band(curves, resamples=4000)
    assert low[1] == high[1] == 7.0
    for point in (0, 2):
        expected = results.interval([curves[:, point]], resamples=4000)
        np.testing.assert_allclose((low[point], high[point]), expected, atol=0.1)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 10, 100, 10_000])
def test_the_interval_is_that_of_student(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    low, _ = stats.t.interval(
        0.95, count - 1, np.mean(values), np.std(values, ddof=1) / math.sqrt(count)
    )
    margin = results.margin(values.tolist())
    assert margin == pytest.approx(np.mean(values) - low, rel=1e-3)
