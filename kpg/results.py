"""What several seeds say about an algorithm, in the manner of rliable.

Reference: Agarwal et al. (2021), "Deep reinforcement learning at the edge of the
statistical precipice", https://arxiv.org/abs/2108.13264.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
RESAMPLES = 5000


def interquartile_mean(scores: Scores) -> Scores:
    """Averages the middle half of the last axis.

    A quarter of the scores, rounded down, is left out at each end; of less than four
    scores this is the mean.
    """
    cut = scores.shape[-1] // 4
    middle = np.sort(scores, axis=-1)[..., cut : scores.shape[-1] - cut]
    return np.asarray(middle.mean(axis=-1), np.float64)


def interval(
    tasks: Sequence[Scores],
    statistic: Callable[[Scores], Scores] = interquartile_mean,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Returns the 95 % percentile interval of a stratified bootstrap.

    Seeds are drawn anew, with replacement, within each task, and the statistic is taken
    over the scores of all tasks together.

    Args:
        tasks: For each task the `[seeds]` scores of an algorithm.
        statistic: From `[..., scores]` to `[...]`. Defaults to `interquartile_mean`.
        resamples: How often to draw. Defaults to 5000.
        seed: Seed of the draws. Defaults to 0.
    """
    rng = np.random.default_rng(seed)
    drawn = [
        scores[rng.integers(len(scores), size=(resamples, len(scores)))]
        for scores in tasks
    ]
    low, high = np.percentile(statistic(np.concatenate(drawn, axis=-1)), [2.5, 97.5])
    return float(low), float(high)


def band(curves: Scores, resamples: int = 1000, seed: int = 0) -> tuple[Scores, Scores]:
    """Returns the 95 % bootstrap interval of the interquartile mean at each point.

    Args:
        curves: `[seeds, points]`.
        resamples: How often to draw whole curves. Defaults to 1000.
        seed: Seed of the draws. Defaults to 0.
    """
    rng = np.random.default_rng(seed)
    drawn = curves[rng.integers(len(curves), size=(resamples, len(curves)))]
    low, high = np.percentile(
        interquartile_mean(np.moveaxis(drawn, 1, -1)), [2.5, 97.5], axis=0
    )
    return low, high


def margin(values: Sequence[float]) -> float:
    """Returns half the width of the 95 % confidence interval of the mean.

    It is that of Student's t distribution: values are few. One value has NaN.
    """
    count = len(values)
    if count < 2:
        return math.nan
    return _quantile(count - 1) * statistics.stdev(values) / math.sqrt(count)


def _quantile(freedom: int) -> float:
    """Returns the 97.5 % quantile of Student's t, to a thousandth.

    Reference: Abramowitz and Stegun (1964), equation 26.7.5, and a table below 4.
    """
    if freedom < 4:
        return (12.7062, 4.3027, 3.1824)[freedom - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return math.fsum(term / freedom**power for power, term in enumerate(terms))
