"""How long a batch waits for more rows."""

from __future__ import annotations

import time

import pytest

from kpg.export.serving.scheduling import Pace


def paced(seconds: float, rows: int) -> Pace:
    """Batches of so many rows have run for so long, the last one until now."""
    pace = Pace()
    for _ in range(3):
        pace.arrived(rows, time.monotonic())
        pace.ended(rows, time.monotonic() - seconds)
    return pace


def test_nobody_waits_before_it_is_known_whether_that_pays() -> None:
    now = time.monotonic()
    assert Pace().wait(1, now, [8]) == paced(1e-4, 8).wait(1, now, [8]) == 0.0
    assert Pace().is_quick and not paced(0.01, 8).is_quick


def test_a_batch_waits_while_a_larger_one_runs() -> None:
    now = time.monotonic()
    assert paced(0.01, 1).wait(3, now, [4]) == pytest.approx(now + 0.02, abs=5e-3)
    assert paced(10.0, 1).wait(3, now, [2, 4]) == pytest.approx(now + 0.05)
    assert paced(0.01, 1).wait(4, now, [4]) == 0.0


def test_a_batch_waits_for_those_who_have_just_been_answered() -> None:
    pace = paced(0.008, 8)
    now = time.monotonic()
    assert pace.wait(7, now) == pytest.approx(now + 0.004, abs=2e-3)
    assert pace.wait(8, now) == 0.0
    assert pace.wait(4, now, [4]) == 0.0  # the others cannot come yet
    assert paced(10.0, 8).wait(1, now) == pytest.approx(now + 0.005, abs=2e-3)


def test_while_requests_come_a_batch_waits_for_the_next() -> None:
    pace = paced(0.008, 8)
    since = time.monotonic()
    pace.arrived(2, since + 0.003)
    assert pace.wait(2, since) == pytest.approx(since + 0.007, abs=2e-3)
    pace.arrived(3, since + 0.015)
    assert pace.wait(3, since) == pytest.approx(since + 0.016, abs=2e-3)


def test_it_is_forgotten_how_many_there_were() -> None:
    pace = paced(0.01, 8)
    waits = []
    for _ in range(12):
        now = time.monotonic()
        pace.arrived(1, now)
        waits.append(pace.wait(1, now) > now)
        pace.ended(1, now - 0.01)
    assert waits == sorted(waits, reverse=True) and waits[3] and not waits[-1]
