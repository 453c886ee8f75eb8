"""Rewards for length against the corners of their curves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kpg.rewards import MissingEnd, SoftOverlong, TargetLength
from tests.mutants.subject import Implementation, Subject, close, killers


def of_lengths(reward: Any, longest: int = 40) -> np.ndarray:
    """Scores completions of 0 to `longest` characters."""
    lengths = range(longest + 1)
    found = reward([""] * len(lengths), ["x" * length for length in lengths])
    return np.array(found)


def soft_overlong(limit: int, buffer: int) -> np.ndarray:
    return of_lengths(SoftOverlong(limit, buffer, unit="character"))


def dapo(limit: int, buffer: int) -> np.ndarray:
    """Yu et al., equation 13, case by case."""
    rewards = []
    for length in range(41):
        if length <= limit - buffer:
            rewards.append(0.0)
        elif length <= limit:
            rewards.append(((limit - buffer) - length) / buffer)
        else:
            rewards.append(-1.0)
    return np.array(rewards)


def joins_its_corners(curve: Implementation) -> None:
    expected = np.interp(range(41), [30 - 12, 30], [0.0, -1.0])
    close(curve(30, 12), expected)


OVERLONG = Subject(
    name="kpg.rewards.SoftOverlong",
    shipped=soft_overlong,
    identities=(joins_its_corners,),
    mutants={
        "free up to the limit": lambda limit, buffer: dapo(limit + buffer, buffer),
        "no floor": lambda limit, buffer: np.minimum(
            0.0, (limit - buffer - np.arange(41.0)) / buffer
        ),
        "a reward": lambda limit, buffer: -dapo(limit, buffer),
        "share of the limit": lambda limit, buffer: np.maximum(
            -1.0, np.minimum(0.0, (limit - buffer - np.arange(41.0)) / limit)
        ),
    },
    right=dapo,
)


@pytest.mark.parametrize("curve", [soft_overlong, dapo])
def test_identities(curve: Implementation) -> None:
    joins_its_corners(curve)


@pytest.mark.parametrize("mutant", OVERLONG.mutants)
def test_mutant_is_killed(mutant: str) -> None:
    assert killers(OVERLONG, mutant)


@pytest.mark.parametrize(("limit", "buffer"), [(1, 1), (20, 1), (20, 20), (35, 8)])
def test_soft_overlong_is_that_of_dapo(limit: int, buffer: int) -> None:
    close(soft_overlong(limit, buffer), dapo(limit, buffer))


@pytest.mark.parametrize(("target", "width"), [(10, None), (20, 5), (3, 30)])
def test_target_length_is_a_tent(target: int, width: int | None) -> None:
    found = of_lengths(TargetLength(target, width, unit="character"))
    foot = target if width is None else width
    corners = [target - foot, target, target + foot]
    close(found, np.interp(range(41), corners, [0.0, 1.0, 0.0]))
    assert found.argmax() == target


@pytest.mark.parametrize(
    ("unit", "expected"), [("token", 3 / 8), ("word", 2 / 8), ("character", 7 / 8)]
)
def test_units(unit: str, expected: float) -> None:
    reward = TargetLength(8, unit=unit)
    assert reward([""], ["ab, cd."], completion_ids=[[5, 6, 0]]) == [expected]


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(
        ValueError, match="must be a finite number ≥ 1. Received: target=0"
    ):
        TargetLength(0)
    with pytest.raises(
        ValueError, match="must be a finite number ≥ 1. Received: width=0"
    ):
        TargetLength(5, width=0)
    with pytest.raises(ValueError, match="Received: buffer=6, limit=5"):
        SoftOverlong(5, 6)
    for kind in (TargetLength, SoftOverlong):
        with pytest.raises(ValueError, match="`unit` must be one of .*line"):
            kind(5, 5, unit="line")
        with pytest.raises(ValueError, match=f"`{kind.__name__}` .* `completion_ids`"):
            kind(5, 5)([""], ["a"])


def test_what_was_cut_off_costs_one() -> None:
    found = MissingEnd()([""] * 3, ["a", "b", "c"], ended=[True, False, True])
    assert found == [0.0, -1.0, 0.0]
    with pytest.raises(ValueError, match=r"needs `ended`.*Received: columns \['x'\]"):
        MissingEnd()([""], ["a"], x=[1])
