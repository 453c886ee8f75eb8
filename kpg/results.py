"""What several seeds say about an algorithm, in the manner of rliable.

Reference: Agarwal et al. (2021), "Deep reinforcement learning at the edge of the
statistical precipice", https://arxiv.org/abs/2108.13264.
"""

from __future__ import annotations

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
