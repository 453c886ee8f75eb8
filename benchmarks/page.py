"""The tables and the picture of docs/benchmarks.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from charts import draw
from comparison import Row, Run, Spread, memory_ratio, rows
from work import CONTENDERS, MEMORY_BAR, WORKS

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "benchmarks.md"
PICTURE = DOCS / "images" / "benchmarks.png"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"


def write_page(runs: Sequence[Run], page: Path = PAGE, picture: Path = PICTURE) -> None:
    """Puts the tables between the page's markers, and draws the picture.

    Raises:
        ValueError: If the page has no markers.
    """
    found = rows(runs)
    put_between(page, BEGIN, END, lines(found, machines(runs)))
    draw(picture, found)


def put_between(page: Path, begin: str, end: str, lines: Sequence[str]) -> None:
    """Replaces what stands between two markers on a page.

    Raises:
        ValueError: If the page has no markers.
    """
    before, found, rest = page.read_text("utf-8").partition(begin)
    _, last, after = rest.partition(end)
    if not found or not last:
        raise ValueError(f"{page} must hold {begin} and {end}. Received: it does not")
    middle = "\n".join(["", "", *lines, "", ""])
    page.write_text(before + begin + middle + end + after, "utf-8")


def machines(runs: Sequence[Run]) -> list[str]:
    """Returns what the runs of kpg ran on."""
    return sorted({run["machine"] for run in runs if run["against"] is not None})


def lines(found: Sequence[Row], machines: Sequence[str]) -> list[str]:
    """Returns the three tables in Markdown."""
    return [
        f"Run on {'; '.join(machines)}.",
        "",
        "## Steps per second",
        "",
        *speed_table(found),
        "",
        "## Time to the threshold",
        "",
        *threshold_table(found),
        "",
        "## Start-up and memory",
        "",
        *memory_table(found),
        "",
        f"![Steps per second, time to the threshold, memory](images/{PICTURE.name})",
    ]


def speed_table(found: Sequence[Row]) -> list[str]:
    """Returns the lines of the table of steps per second."""
    titles = "work|peer|kpg, steps/s|peer, steps/s|ratio|bar|returns|runs"
    return table(titles, [_speed(row) for row in found])


def _speed(row: Row) -> list[str]:
    bar = row.pair.speed_bar
    verdict = f"**void**: {row.void}" if row.void else judged(row.speed.median, bar)
    returns = (number(side.return_mean) for side in (row.ours, row.theirs))
    return [
        *_names(row),
        f"{row.ours.steps_per_second:,.0f}",
        f"{row.theirs.steps_per_second:,.0f}",
        interval(row.speed),
        verdict,
        " / ".join(returns),
        str(row.repetitions),
    ]


def threshold_table(found: Sequence[Row]) -> list[str]:
    """Returns the lines of the table of times to the threshold."""
    titles = "work|peer|threshold|kpg, s|peer, s|ratio|bar|runs"
    cells = []
    for row in found:
        goal = WORKS[row.pair.work].settings.threshold
        if row.sooner is None or goal is None:
            continue
        cells += [
            [
                *_names(row),
                number(goal),
                number(row.ours.threshold_seconds),
                number(row.theirs.threshold_seconds),
                interval(row.sooner),
                judged(row.sooner.median, row.pair.threshold_bar),
                str(row.repetitions),
            ]
        ]
    return table(titles, cells)


def memory_table(found: Sequence[Row]) -> list[str]:
    """Returns the lines of the table of start-up and peak memory."""
    titles = "work|peer|kpg, start-up s|peer, start-up s|kpg, MB|peer, MB|ratio|bar"
    cells = []
    for row in found:
        fastest = memory_ratio(row, found)
        cells += [
            [
                *_names(row),
                f"{row.ours.startup_seconds:.1f}",
                f"{row.theirs.startup_seconds:.1f}",
                f"{row.ours.peak_mb:,.0f}",
                f"{row.theirs.peak_mb:,.0f}",
                f"{row.ours.peak_mb / row.theirs.peak_mb:.2f}",
                "" if fastest is None else _judged_memory(fastest),
            ]
        ]
    return table(titles, cells)


def _names(row: Row) -> list[str]:
    work, ours = WORKS[row.pair.work], CONTENDERS[row.pair.ours].title
    suffix = "" if ours == "kpg" else f"; {ours}"
    name = f"{work.name}, {work.remark}{suffix}"
    return [name, CONTENDERS[row.pair.theirs].title]


def _judged_memory(ratio: float) -> str:
    return f"≤ {MEMORY_BAR:g} {'holds' if ratio <= MEMORY_BAR else '**missed**'}"


def judged(ratio: float, bar: float | None) -> str:
    """Says whether a ratio is at least its bar; "" if there is none."""
    if bar is None:
        return ""
    return f"≥ {bar:g} {'holds' if ratio >= bar else '**missed**'}"


def table(titles: str, cells: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a table, given titles with bars between them."""
    heads = titles.split("|")
    everything = [heads, ["---"] * len(heads), *cells]
    return [f"| {' | '.join(row)} |" for row in everything]


def interval(spread: Spread) -> str:
    """Writes a median with the smallest and the largest."""
    return f"{number(spread.median)} ({number(spread.low)}–{number(spread.high)})"


def number(value: float) -> str:
    """Writes three digits or so; ∞ for what was never reached."""
    if math.isinf(value):
        return "∞"
    digits = 0 if abs(value) >= 100 or value == round(value) else 1
    digits = 2 if abs(value) < 10 and digits else digits
    return f"{value:,.{digits}f}".replace("-", "−")
