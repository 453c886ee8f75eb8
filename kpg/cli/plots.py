"""Pictures of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def learning_curve(
    path: Path,
    metrics: Sequence[Mapping[str, Any]],
    *,
    title: str,
    threshold: float | None = None,
) -> None:
    """Draws the return over environment steps into a PNG file.

    An epoch's logs have `env_steps`, `return` and, after a validation, `val_return` and
    `val_return_std`; `None` and NaN are gaps. `threshold` counts as solved.
    """
    # Without pyplot there is no global state, and no display is looked for.
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps = _column(metrics, "env_steps")
    axes.plot(steps, _column(metrics, "return"), label="while exploring", alpha=0.7)
    _draw_validation(axes, steps, metrics)
    if threshold is not None:
        label = f"official threshold ({threshold:g})"
        axes.axhline(threshold, color="gray", linestyle="--", label=label)
    axes.set(title=title, xlabel="environment steps", ylabel="return of an episode")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, format="png", dpi=120)


def _draw_validation(
    axes: Axes, steps: list[float], metrics: Sequence[Mapping[str, Any]]
) -> None:
    means = _column(metrics, "val_return")
    if all(math.isnan(mean) for mean in means):
        return
    deviations = _column(metrics, "val_return_std")
    (line,) = axes.plot(steps, means, label="validation (mean ± std)")
    axes.fill_between(
        steps,
        [mean - std for mean, std in zip(means, deviations, strict=True)],
        [mean + std for mean, std in zip(means, deviations, strict=True)],
        color=line.get_color(),
        alpha=0.2,
        linewidth=0,
    )


def _column(metrics: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    values = (logs.get(name) for logs in metrics)
    return [math.nan if value is None else float(value) for value in values]
