"""The picture of the comparison: steps/s, time to the threshold, memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from comparison import Row, Side
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from work import CONTENDERS, WORKS

PANELS = (
    ("steps_per_second", "steps per second", True),
    ("threshold_seconds", "seconds from process start to the threshold", False),
    ("peak_mb", "peak memory, MB", False),
)
OURS, THEIRS = "tab:blue", "silver"
Bars = list[tuple[str, float, str]]


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Draws a panel for each measure into a PNG file.

    Args:
        path: The file to write.
        rows: What was measured; rows that are void are left out.
    """
    kept = [row for row in rows if not row.void]
    panels = [(bars(kept, name), title, log) for name, title, log in PANELS]
    panels = [panel for panel in panels if panel[0]]
    if not panels:
        return
    heights = [len(values) + 2 for values, _, _ in panels]
    figure = Figure(figsize=(10, 0.22 * sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)
    for axes, (values, title, log) in zip(grid.flatten(), panels, strict=True):
        _draw_bars(axes, values, log)
        axes.set_title(title, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=80)


def bars(rows: Sequence[Row], name: str) -> Bars:
    """Returns label, height and colour of each bar, work by work, kpg's first.

    Args:
        rows: What was measured.
        name: A field of `Side`; bars that are infinite are left out.
    """
    found: Bars = []
    for work in WORKS:
        sides: dict[str, tuple[Side, str]] = {}
        same = [row for row in rows if row.pair.work == work]
        # kpg ran against each peer; the first of those runs stands for all.
        for row in same:
            sides.setdefault(row.pair.ours, (row.ours, OURS))
        for row in same:
            sides.setdefault(row.pair.theirs, (row.theirs, THEIRS))
        for contender, (side, color) in sides.items():
            value = float(getattr(side, name))
            if math.isfinite(value):
                label = f"{WORKS[work].name}: {CONTENDERS[contender].title}"
                found.append((label, value, color))
    return found


def _draw_bars(axes: Axes, values: Bars, log: bool) -> None:
    places = range(len(values))
    axes.barh(places, [v for _, v, _ in values], color=[c for *_, c in values])
    for place, (_, value, _) in zip(places, values, strict=True):
        axes.text(value, place, f" {value:,.0f}", va="center", fontsize=7)
    axes.set_yticks(places, [label for label, *_ in values])
    axes.invert_yaxis()
    axes.set_xscale("log" if log else "linear")
    axes.margins(x=0.1)
    axes.tick_params(labelsize=7)
    axes.grid(axis="x", alpha=0.3)
