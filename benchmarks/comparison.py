"""From runs to rows: medians, ratios, and whether a row counts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from work import CONTENDERS, PAIRS, WORKS, Pair

Run = dict[str, Any]


class Spread(NamedTuple):
    """A median with the smallest and the largest."""

    median: float
    low: float
    high: float


class Side(NamedTuple):
    """Medians over one contender's runs of a work; see the peers' reports."""

    steps_per_second: float
    startup_seconds: float
    threshold_seconds: float
    return_mean: float
    peak_mb: float


class Row(NamedTuple):
    """A pair with what was measured.

    Attributes:
        pair: Who did what.
        repetitions: Number of repetitions that both have done.
        ours: kpg's medians.
        theirs: The peer's medians.
        speed: Steps per second, ours over theirs, of runs that follow each other.
        sooner: Time to the threshold, theirs over ours, or `None` if there is none. Who
            did not reach it took ∞.
        void: Why the row does not count, or "".
    """

    pair: Pair
    repetitions: int
    ours: Side
    theirs: Side
    speed: Spread
    sooner: Spread | None
    void: str


def row(pair: Pair, runs: Sequence[Run]) -> Row | None:
    """Returns the row of a pair, or `None` if no repetition of it is complete."""
    ours = {run["repetition"]: run for run in runs if is_of(run, pair, pair.ours)}
    theirs = {run["repetition"]: run for run in runs if is_of(run, pair, pair.theirs)}
    both = sorted(set(ours) & set(theirs))
    if not both:
        return None
    pairs = [(ours[repetition], theirs[repetition]) for repetition in both]
    left, right = side([run for run, _ in pairs]), side([run for _, run in pairs])
    sooner = None
    if WORKS[pair.work].settings.threshold is not None:
        sooner = spread([_sooner(a, b) for a, b in pairs])
    return Row(
        pair,
        len(both),
        left,
        right,
        spread([a["steps_per_second"] / b["steps_per_second"] for a, b in pairs]),
        sooner,
        why_void(pair, left.return_mean, right.return_mean),
    )


def rows(runs: Sequence[Run], pairs: Sequence[Pair] = PAIRS) -> list[Row]:
    """Returns the rows of all pairs that have run."""
    found = (row(pair, runs) for pair in pairs)
    return [row for row in found if row is not None]


def is_of(run: Run, pair: Pair, contender: str) -> bool:
    """Whether a run is that of one contender of a pair.

    Every pair has runs of kpg of its own, next to the peer's in time; a peer's runs
    serve all pairs of the work.
    """
    against = pair.theirs if contender == pair.ours else None
    key = (pair.work, contender, against)
    return (run["work"], run["contender"], run["against"]) == key


def side(runs: Sequence[Run]) -> Side:
    """Returns the medians over runs."""
    return Side(
        *(
            statistics.median(_number(run[name]) for run in runs)
            for name in Side._fields
        )
    )


def spread(values: Sequence[float]) -> Spread:
    """Returns the median, the smallest and the largest."""
    return Spread(statistics.median(values), min(values), max(values))


def why_void(pair: Pair, ours: float, theirs: float) -> str:
    """Says which of the two has not learned, or that they learned not the same.

    Args:
        pair: Who did what.
        ours: kpg's median return.
        theirs: The peer's median return.
    """
    work = WORKS[pair.work]
    for name, value in ((pair.ours, ours), (pair.theirs, theirs)):
        if not value >= work.learned:
            return f"{CONTENDERS[name].title} did not reach {work.learned:g}"
    if abs(ours - theirs) > work.tolerance:
        return f"the returns differ by more than {work.tolerance:g}"
    return ""


def memory_ratio(row: Row, rows: Sequence[Row]) -> float | None:
    """Returns kpg's peak memory over the peer's if that is the work's fastest."""
    same = [other for other in rows if other.pair.work == row.pair.work]
    fastest = max(same, key=lambda other: other.theirs.steps_per_second)
    if row.pair.theirs != fastest.pair.theirs:
        return None
    return row.ours.peak_mb / row.theirs.peak_mb


def _sooner(ours: Run, theirs: Run) -> float:
    reached = ours["threshold_seconds"]
    return 0.0 if reached is None else _number(theirs["threshold_seconds"]) / reached


def _number(value: float | None) -> float:
    return math.inf if value is None else value
