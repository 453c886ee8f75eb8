from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "scores.py"
# An installed wheel has no benchmarks; a checkout always has.
if PATH.is_file():
    spec = importlib.util.spec_from_file_location("scores", PATH)
    assert spec is not None
    assert spec.loader is not None
    scores: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scores)


class TestScores:
    __test__ = PATH.is_file()

    @pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9, 10, 40])
    def test_the_interquartile_mean_is_scipys(self, count: int) -> None:
        values = np.random.default_rng(count).normal(size=(3, count))
        np.testing.assert_allclose(
            scores.interquartile_mean(values), stats.trim_mean(values, 0.25, axis=-1)
        )

    def test_the_interquartile_mean_leaves_out_the_ends(self) -> None:
        assert scores.interquartile_mean(np.array([-1e9, 1.0, 3.0, 1e9])) == 2.0

    def test_the_interval_is_that_of_scipys_bootstrap(self) -> None:
        values = np.random.default_rng(0).exponential(size=20)
        theirs = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=20_000,
            method="percentile",
            rng=np.random.default_rng(1),
        ).confidence_interval
        ours = scores.interval([values], lambda x: x.mean(axis=-1), resamples=20_000)
        np.testing.assert_allclose(ours, theirs, rtol=0.02)

    def test_the_interval_resamples_within_tasks_only(self) -> None:
        # Of two tasks without any spread every resample is the same; drawn from all
        # scores alike, the mean would vary.
        tasks = [np.zeros(5), np.ones(5)]
        assert scores.interval(tasks, lambda x: x.mean(axis=-1)) == (0.5, 0.5)

    def test_equal_seeds_give_equal_intervals(self) -> None:
        values = [np.arange(10.0)]
        assert scores.interval(values) == scores.interval(values)
        assert scores.interval(values) != scores.interval(values, seed=1)

    def test_a_band_is_an_interval_at_each_point(self) -> None:
        curves = np.random.default_rng(0).normal(size=(10, 3))
        curves[:, 1] = 7.0
        low, high = scores.band(curves, resamples=4000)
        assert low[1] == high[1] == 7.0
        for point in (0, 2):
            expected = scores.interval([curves[:, point]], resamples=4000)
            np.testing.assert_allclose((low[point], high[point]), expected, atol=0.1)
