"""Pictures of the results, in the manner of rliable."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kpg.results import Scores, band, interquartile_mean, interval

COLORS = {"PPO": "tab:blue", "ActorCritic": "tab:orange", "REINFORCE": "tab:green"}
COLUMNS = 3
RESOLUTION = 160
Group = tuple[str, str]


def draw_scores(
    path: Path,
    scores: Mapping[Group, Scores],
    bars: Mapping[str, float],
    normalized: Mapping[str, Sequence[Scores]],
) -> None:
    """Draws interquartile means with their 95 % intervals into a PNG file.

    Args:
        path: The file to write.
        scores: For each environment and algorithm the `[seeds]` returns.
        bars: For each environment the return to reach.
        normalized: For each algorithm the `[seeds]` normalised scores of the tasks that
            all of them have; they fill the last panel.
    """
    figure, panels = _panels(len(bars) + 1, height=1.7)
    for axes, (env, goal) in zip(panels, bars.items(), strict=False):
        rows = {name: [row] for (task, name), row in scores.items() if task == env}
        _draw_intervals(axes, rows)
        axes.axvline(goal, color="gray", linestyle="--", linewidth=1)
        axes.set_title(env, fontsize=9)
    if any(normalized.values()):
        count = len(next(iter(normalized.values())))
        _draw_intervals(panels[-1], normalized)
        panels[-1].axvline(1.0, color="gray", linestyle="--", linewidth=1)
        panels[-1].set_title(f"{count} tasks", fontsize=9)
        panels[-1].set_xlabel("normalised return", fontsize=8)
    figure.savefig(path, format="png", dpi=RESOLUTION)


def _draw_intervals(axes: Axes, rows: Mapping[str, Sequence[Scores]]) -> None:
    for height, (name, tasks) in enumerate(reversed(rows.items())):
        middle = float(interquartile_mean(np.concatenate(tasks)))
        low, high = interval(tasks)
        axes.barh(
            height, high - low, left=low, height=0.6, color=COLORS[name], alpha=0.6
        )
        axes.vlines(middle, height - 0.3, height + 0.3, color="black")
    axes.set_yticks(range(len(rows)), list(reversed(rows)))
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.use_sticky_edges = False  # or bars begin at the frame
    axes.margins(x=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(labelsize=8)
    axes.set_xlabel("return", fontsize=8)
    axes.grid(axis="x", alpha=0.3)


def draw_curves(
    path: Path,
    curves: Mapping[Group, tuple[Scores, Scores]],
    bars: Mapping[str, float],
) -> None:
    """Draws learning curves with 95 % bootstrap bands into a PNG file.

    Args:
        path: The file to write.
        curves: For each environment and algorithm `[points]` environment steps and
            `[seeds, points]` returns.
        bars: For each environment the return to reach.
    """
    figure, panels = _panels(len(bars), height=2.6)
    for axes, (env, goal) in zip(panels, bars.items(), strict=True):
        for (task, name), (steps, returns) in curves.items():
            if task != env:
                continue
            low, high = band(returns)
            axes.plot(steps, interquartile_mean(returns.T), color=COLORS[name])
            axes.fill_between(
                steps, low, high, color=COLORS[name], alpha=0.2, linewidth=0
            )
        axes.axhline(goal, color="gray", linestyle="--", linewidth=1)
        axes.set_title(env, fontsize=9)
        axes.set_xlabel("environment steps", fontsize=8)
        axes.set_ylabel("return", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.tick_params(labelsize=8)
        axes.xaxis.get_offset_text().set_fontsize(8)
        axes.grid(alpha=0.3)
    used = [name for name in COLORS if any(name == group[1] for group in curves)]
    handles = [panels[0].plot([], [], color=COLORS[name])[0] for name in used]
    figure.legend(handles, used, loc="outside lower center", ncols=3, fontsize=9)
    figure.savefig(path, format="png", dpi=RESOLUTION)


def _panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """Makes a figure of `count` panels; `height` is that of a row, in inches."""
    rows = math.ceil(count / COLUMNS)
    figure = Figure(figsize=(10, rows * height + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, list(grid[:count])
