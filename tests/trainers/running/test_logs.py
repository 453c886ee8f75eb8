"""Means over the episodes that ended, and over the iterations."""

from __future__ import annotations

import math
from typing import Any

import pytest

from kpg.trainers.acting.graph import Episodes
from kpg.trainers.running.logs import EpochLog


def sums(*episodes: float, **numbers: float) -> Any:
    """Returns what an engine does: episodes are their returns, lengths and number."""
    ended = Episodes(*(episodes or (0.0, 0.0, 0.0)))
    none = {"broken_environment": 0.0, "broken_policy": 0.0}
    return {**none, **ended._asdict(), **numbers}


def test_what_is_measured_is_averaged_by_what_it_is_of() -> None:
    log = EpochLog()
    log.add(sums(10.0, 4.0, 2.0, loss=3.0), 3, 24, 0.5)
    log.add(sums(20.0, 5.0, 1.0, loss=1.0), 1, 8, 0.5)
    logs = log.epoch_logs()
    assert logs == {
        "return": 10.0,
        "length": 3.0,
        "episodes": 3,
        "steps_per_second": 32.0,
        "loss": 1.0,
    }
    assert log.batch_logs() == logs and log.broken is None


def test_no_episode_has_no_mean_yet() -> None:
    log = EpochLog()
    log.add(sums(loss=math.nan), 1, 8, 0.5)
    logs = log.epoch_logs()
    assert math.isnan(logs["return"]) and math.isnan(logs["length"])
    # A loss that is no number is what `TerminateOnNaN` waits for.
    assert {"return", "length"}.isdisjoint(log.batch_logs())
    assert math.isnan(log.batch_logs()["loss"])


@pytest.mark.parametrize("name", ["broken_environment", "broken_policy"])
def test_one_broken_iteration_breaks_the_epoch(name: str) -> None:
    log = EpochLog()
    log.add(sums(loss=1.0), 1, 8, 0.5)
    log.add(sums(loss=1.0, **{name: 1.0}), 1, 8, 0.5)
    assert log.broken == name
    assert name not in log.epoch_logs()
