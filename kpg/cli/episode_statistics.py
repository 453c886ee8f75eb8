"""What a number of episodes says about a policy."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from kpg.types import Config


def summary(returns: Sequence[float], length_mean: float) -> Config:
    """Sums up episodes.

    Args:
        returns: Undiscounted return of each episode, at least one.
        length_mean: Mean length in steps.

    Returns:
        `episodes`, `return_mean`, `return_std` (of the sample, n − 1), `return_ci95`
        (half the width of the 95 % confidence interval of the mean, by the normal
        approximation) and `length_mean`. The spread of a single episode is NaN.
    """
    deviation = statistics.stdev(returns) if len(returns) > 1 else math.nan
    return {
        "episodes": len(returns),
        "return_mean": statistics.fmean(returns),
        "return_std": deviation,
        "return_ci95": 1.96 * deviation / math.sqrt(len(returns)),
        "length_mean": length_mean,
    }


def in_words(values: Config) -> str:
    """Writes a summary as one line for people."""
    spread = values["return_ci95"]
    interval = "" if math.isnan(spread) else f" ± {spread:.2f} (95 %)"
    plural = "" if values["episodes"] == 1 else "s"
    return (
        f"return {values['return_mean']:.2f}{interval} over {values['episodes']} "
        f"episode{plural}, {values['length_mean']:.0f} steps each"
    )
