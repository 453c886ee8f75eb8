"""How long a batch waits for more rows."""

from __future__ import annotations

import time

import pytest

from kpg.export.serving.scheduling import Pace


def paced(seconds: float, rows: int) -> Pace:
    """Batches of so many rows have run for so long, the last one until now."""
    pace = Pace()
    for _ in range(3):
        pace.note(rows, time.monotonic() - seconds)
    return pace


def test_nobody_waits_before_it_is_known_whether_that_pays() -> None:
    now = time.monotonic()
    assert Pace().wait(1, now, 8) == paced(1e-4, 8).wait(1, now, 8) == 0.0


def test_a_batch_waits_while_a_larger_one_runs() -> None:
    now = time.monotonic()
    assert paced(0.01, 1).wait(3, now, 4) == pytest.approx(now + 0.02, abs=5e-3)
    assert paced(10.0, 1).wait(3, now, 4) == pytest.approx(now + 0.05)
    assert paced(0.01, 1).wait(4, now, 4) == 0.0


def test_a_batch_waits_for_those_who_have_just_been_answered() -> None:
    pace = paced(0.012, 8)
    now = time.monotonic()
    assert pace.wait(7, now, 0) == pytest.approx(now + 0.003, abs=2e-3)
    assert pace.wait(8, now, 0) == 0.0
    assert paced(10.0, 8).wait(1, now, 0) == pytest.approx(now + 0.005, abs=2e-3)
    pace.note(1, now)  # they have not come
    assert pace.wait(1, now, 0) == 0.0
