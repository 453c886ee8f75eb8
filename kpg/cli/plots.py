"""Pictures of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kpg import results
from kpg.results import Scores
from kpg.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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
    figure, axes = _picture(title)
    steps = _column(metrics, "env_steps")
    axes.plot(steps, _column(metrics, "return"), label="while exploring", alpha=0.7)
    means = _column(metrics, "val_return")
    if not np.isnan(means).all():
        deviations = _column(metrics, "val_return_std")
        (line,) = axes.plot(steps, means, label="validation (mean ± std)")
        lower, upper = means - deviations, means + deviations
        axes.fill_between(
            steps, lower, upper, color=line.get_color(), alpha=0.2, linewidth=0
        )
    if threshold is not None:
        label = f"official threshold ({threshold:g})"
        axes.axhline(threshold, color="gray", linestyle="--", label=label)
    axes.legend()
    figure.savefig(path, format="png", dpi=120)


def comparison(
    path: Path, curves: Mapping[str, tuple[Scores, Scores]], *, title: str
) -> None:
    """Draws returns over environment steps into a PNG file, several seeds as one curve.

    Args:
        path: The file to write.
        curves: By label, `[points]` environment steps and `[seeds, points]` returns. A
            line is their interquartile mean, and its band the 95 % interval.
        title: Of the picture.
    """
    figure, axes = _picture(title)
    for label, (steps, rows) in curves.items():
        seeds = f"{len(rows)} seed" + "s" * (len(rows) > 1)
        (line,) = axes.plot(
            steps, results.interquartile_mean(rows.T), label=f"{label} ({seeds})"
        )
        if len(rows) > 1:
            low, high = results.band(rows)
            axes.fill_between(
                steps, low, high, color=line.get_color(), alpha=0.2, linewidth=0
            )
    axes.legend()
    figure.savefig(path, format="png", dpi=120)


def search(
    path: Path,
    trials: Sequence[int],
    returns: Sequence[float],
    settings: Sequence[Mapping[str, Any]],
    *,
    title: str,
) -> None:
    """Draws the returns of trials into a PNG file: over time, and over each setting.

    Args:
        path: The file to write.
        trials: The trials' numbers.
        returns: What each came to.
        settings: What each tried, by name.
        title: Of the picture.
    """
    names = ["trial", *settings[0]]
    rows = -(-len(names) // 3)
    figure = _canvas((10, 2.6 * rows))
    figure.set_layout_engine("constrained")
    places = figure.subplots(rows, 3, sharey=True, squeeze=False).ravel()
    for name, axes in zip(names, places, strict=False):
        values = trials if name == "trial" else [own[name] for own in settings]
        plain = all(isinstance(value, (int, float)) for value in values)
        if plain and min(values) > 0 and max(values) > 30 * min(values):
            axes.set_xscale("log")
        axes.plot(values if plain else list(map(str, values)), returns, "o", alpha=0.6)
        axes.set(xlabel=name)
        axes.grid(alpha=0.3)
    for axes in places[len(names) :]:
        axes.set_axis_off()
    figure.suptitle(f"{title}: return by setting")
    figure.savefig(path, format="png", dpi=120)


def _picture(title: str) -> tuple[Figure, Axes]:
    figure = _canvas((8, 5))
    # Where it would be laid out, without the time that this takes.
    axes = figure.add_axes((0.1, 0.11, 0.88, 0.82))
    axes.set(title=title, xlabel="environment steps", ylabel="return of an episode")
    axes.grid(alpha=0.3)
    return figure, axes


def _canvas(size: tuple[float, float]) -> Figure:
    # A training needs matplotlib at its end, and most commands never. Without pyplot
    # there is no global state, and no display is looked for.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    return figure


def _column(metrics: Sequence[Mapping[str, Any]], name: str) -> Array:
    return np.array([logs.get(name) for logs in metrics], float)  # None becomes NaN
