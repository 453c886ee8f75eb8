"""Runs kpg's language models and their peers in turn; writes docs/benchmarks.md.

    make benchmark-language
    python benchmarks/language.py --work grpo --runs 1

It is compare.py with other works, on one core; the runs are kept in language.jsonl.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compare import main
from comparison import Row, Run, Spread, rows
from page import PAGE, interval, judged, machines, number, put_between, table
from work import CONTENDERS, TEXT_PAIRS, WORKS

RESULTS = Path(__file__).resolve().parent / "language.jsonl"
BEGIN, END = "<!-- language: begin -->", "<!-- language: end -->"


def write_section(runs: Sequence[Run], page: Path = PAGE) -> None:
    """Puts the tables of language models between their markers on the page.

    Raises:
        ValueError: If the page has no markers.
    """
    found = rows(runs, TEXT_PAIRS)
    put_between(page, BEGIN, END, lines(found, machines(runs)))


def lines(found: Sequence[Row], machines: Sequence[str]) -> list[str]:
    """Returns the tables in Markdown."""
    learning = [row for row in found if learns(row)]
    sampling = [row for row in found if not learns(row)]
    return [
        f"Run on {'; '.join(machines)}.",
        "",
        "### Sampling",
        "",
        *sampling_table(sampling),
        "",
        "### A training step",
        "",
        *training_table(learning),
        "",
        "### Start-up and memory of language models",
        "",
        *memory_table(found),
    ]


def learns(row: Row) -> bool:
    """Whether a row is about training."""
    return getattr(WORKS[row.pair.work].settings, "algorithm", None) is not None


def sampling_table(found: Sequence[Row]) -> list[str]:
    """Returns the lines of the table of tokens per second."""
    titles = "work|peer|kpg, tokens/s|peer, tokens/s|ratio|bar|mean lengths|runs"
    return table(titles, [_sampling(row) for row in found])


def _sampling(row: Row) -> list[str]:
    return [
        *_names(row),
        f"{row.ours.steps_per_second:,.0f}",
        f"{row.theirs.steps_per_second:,.0f}",
        interval(row.speed),
        _void(row) or judged(row.speed.median, row.pair.speed_bar),
        _returns(row),
        str(row.repetitions),
    ]


def training_table(found: Sequence[Row]) -> list[str]:
    """Returns the lines of the table of seconds per step."""
    titles = "work|peer|kpg, s|peer, s|ratio of times|bar|rewards|runs"
    return table(titles, [_training(row) for row in found])


def _training(row: Row) -> list[str]:
    times = Spread(1 / row.speed.median, 1 / row.speed.high, 1 / row.speed.low)
    return [
        *_names(row),
        number(1 / row.ours.steps_per_second),
        number(1 / row.theirs.steps_per_second),
        interval(times),
        _void(row) or judged_time(times.median, row.pair.speed_bar),
        _returns(row),
        str(row.repetitions),
    ]


def judged_time(ratio: float, bar: float | None) -> str:
    """Says whether a ratio of times is at most the inverse of a bar of speed."""
    if bar is None:
        return ""
    return f"≤ {1 / bar:.2g} {'holds' if ratio <= 1 / bar else '**missed**'}"


def memory_table(found: Sequence[Row]) -> list[str]:
    """Returns the lines of the table of start-up and peak memory."""
    titles = "work|peer|kpg, start-up s|peer, start-up s|kpg, MB|peer, MB"
    cells = [
        [
            *_names(row),
            *(f"{side.startup_seconds:.1f}" for side in (row.ours, row.theirs)),
            *(f"{side.peak_mb:,.0f}" for side in (row.ours, row.theirs)),
        ]
        for row in found
    ]
    return table(titles, cells)


def _names(row: Row) -> list[str]:
    return [WORKS[row.pair.work].name, CONTENDERS[row.pair.theirs].title]


def _void(row: Row) -> str:
    return f"**void**: {row.void}" if row.void else ""


def _returns(row: Row) -> str:
    return " / ".join(number(side.return_mean) for side in (row.ours, row.theirs))


if __name__ == "__main__":
    main(TEXT_PAIRS, RESULTS, write_section, cores=1)
