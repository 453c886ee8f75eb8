"""Statistics of a number of episodes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from kpg.types import Config


def summary(returns: Sequence[float], length_mean: float) -> Config:
    """Summarises undiscounted returns, at least one, and the mean length in steps.

    `return_std` is of the sample (n − 1), and `return_ci95` is `kpg.results.margin`:
    both are NaN for one episode.
    """
    from kpg.results import margin  # and NumPy, which `kpg list` does without

    deviation = statistics.stdev(returns) if len(returns) > 1 else math.nan
    return {
        "episodes": len(returns),
        "return_mean": statistics.fmean(returns),
        "return_std": deviation,
        "return_ci95": margin(returns),
        "length_mean": length_mean,
    }


def written(value: float, beside: float | None = None) -> str:
    """Writes a return, as precisely as the one beside which it stands.

    Tenths tell returns of some hundred apart, but not those of texts, from 0 to 1.
    """
    size = value if beside is None else beside
    return f"{value:.{1 if abs(size) >= 10 else 3}f}"


def in_words(values: Config) -> str:
    """Writes a summary as one line."""
    if not values["episodes"]:
        return "no whole episode"
    spread = values["return_ci95"]
    interval = "" if math.isnan(spread) else f" ± {spread:.2f} (95 %)"
    plural = "" if values["episodes"] == 1 else "s"
    return (
        f"return {values['return_mean']:.2f}{interval} over {values['episodes']} "
        f"episode{plural}, {values['length_mean']:.0f} steps each"
    )
