"""The check of an environment passes what is right and names what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest

import kpg
from kpg.testing import Maze, Probe, check_environment
from tests.faulty_environments import FourThings, Random, SameStart, Walk, WrongShape
from tests.faulty_functions import (
    AnotherDtype,
    AnotherShape,
    Drift,
    IgnoresTheSeed,
    OutsideItsSpace,
    RewardNotFinite,
    WholeBox,
)

MUTANTS: list[tuple[type[Drift], str]] = [
    (RewardNotFinite, "reward was -inf"),
    (OutsideItsSpace, "lies outside Box"),
    (AnotherShape, r"shape \(2,\), but its space says \(1,\)"),
    (AnotherDtype, "observation is float64"),
    (WholeBox, "floats in each Box"),
    (IgnoresTheSeed, "Four seeds gave the same episode"),
]


@pytest.mark.parametrize(("mutant", "words"), MUTANTS)
def test_a_functional_environment_that_is_wrong_is_told_why(
    mutant: type[Drift], words: str
) -> None:
    with pytest.raises(AssertionError, match=words):
        check_environment(mutant())


@pytest.mark.parametrize(
    "env",
    [
        Drift,
        Walk,
        pytest.param(kpg.environments.CartPole(), marks=pytest.mark.slow),
        lambda: Maze(["S..", "S#G"], slip=0.2),
        pytest.param(
            Probe(
                "memory", {"a": "text", "b": "image"}, ("discrete", "box"), masked=True
            ),
            marks=pytest.mark.slow,
        ),
        lambda: gym.make("CartPole-v1"),
        gym.vector.SyncVectorEnv([lambda: gym.make("MountainCar-v0")] * 2),
    ],
)
def test_what_keeps_its_contract_passes(env: Any) -> None:
    check_environment(env)


def test_made_environments_and_ids_pass() -> None:
    check_environment(kpg.make("Pendulum-v1", num_envs=3))
    check_environment(kpg.make("FrozenLake-v1", num_envs=3))


def test_what_is_never_random_must_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    # They do the same in every episode.
    monkeypatch.setattr("kpg.testing.environment._MOST_STEPS", 100)
    with pytest.raises(AssertionError, match="random=False"):
        check_environment(Probe("value"))
    check_environment(Probe("value"), random=False)
    check_environment(kpg.make("CliffWalking-v1"), random=False)


# On the host.


class Falls(Walk):
    def step(self, action: Any) -> Any:
        raise RuntimeError("no floor")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (WrongShape, "Change one of them"),
        (Random, "The same seed and the same actions gave another episode"),
        (SameStart, "Four seeds gave the same episode"),
        (FourThings, "`step` must return five things"),
        (Falls, "RuntimeError: no floor"),
    ],
)
def test_an_environment_of_the_host_that_is_wrong_is_told_why(
    make: Callable[[], Any], words: str
) -> None:
    with pytest.raises(AssertionError, match=words):
        check_environment(make())


@pytest.mark.parametrize("wrong", [3, "CartPole-v1", lambda: 3])
def test_what_is_no_environment_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="Received"):
        check_environment(wrong)
