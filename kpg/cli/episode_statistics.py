"""Statistics of a number of episodes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from kpg.types import Config


def summary(returns: Sequence[float], length_mean: float) -> Config:
    """Summarises undiscounted returns, at least one, and the mean length in steps.

    `return_std` is of the sample (n − 1), and `return_ci95` the `margin`. One episode
    has NaN for both.
    """
    deviation = statistics.stdev(returns) if len(returns) > 1 else math.nan
    return {
        "episodes": len(returns),
        "return_mean": statistics.fmean(returns),
        "return_std": deviation,
        "return_ci95": margin(returns),
        "length_mean": length_mean,
    }


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


def in_words(values: Config) -> str:
    """Writes a summary as one line."""
    spread = values["return_ci95"]
    interval = "" if math.isnan(spread) else f" ± {spread:.2f} (95 %)"
    plural = "" if values["episodes"] == 1 else "s"
    return (
        f"return {values['return_mean']:.2f}{interval} over {values['episodes']} "
        f"episode{plural}, {values['length_mean']:.0f} steps each"
    )
