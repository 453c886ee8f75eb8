"""What is inside an environment is told by itself, or pickled, or not known."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit, TransformReward
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from kpg.environments.host import inner
from tests.resuming import Drawing, Kept

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]


def vector(
    make: Callable[[], Any], mode: AutoresetMode = AutoresetMode.NEXT_STEP
) -> Any:
    return SyncVectorEnv([make] * 2, autoreset_mode=mode)


def kept() -> Any:
    return TimeLimit(Kept(), 5)


def step(env: Any, times: int) -> list[Any]:
    rows = [env.step(np.array([1, 0]))[:4] for _ in range(times)]
    return [np.concatenate([np.ravel(part) for part in row]).tolist() for row in rows]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["told", "pickled", "registered", "weak"])
def test_an_environment_goes_on_in_another_one(mode: Any, kind: str) -> None:
    make: Callable[[], Any] = {
        "told": kept,
        "pickled": lambda: TransformReward(TimeLimit(Drawing(), 5), float),
        "registered": lambda: gym.make("CartPole-v1"),
        "weak": kept,
    }[kind]
    first, second = vector(make, mode), vector(make, mode)
    pickled = kind in ("pickled", "registered")
    for moments in (0, 3, 5, 6):  # within an episode, at its end, and after a reset
        first.reset(seed=7)
        step(first, moments)
        second.reset(seed=8)
        envs: list[Any] = [first, second]
        if kind == "weak":  # as a trainer holds what a user gave it
            proxy: Callable[[Any], Any] = weakref.proxy
            envs = [proxy(env) for env in envs]
        inner.set_state(envs[1], inner.state(envs[0], pickled))
        assert step(second, 7) == step(first, 7)


def test_vector_environments_of_gymnasium_are_pickled() -> None:
    first, second = (gym.make_vec("CartPole-v1", 2) for _ in range(2))
    assert inner.state(first) is None
    first.reset(seed=3)
    second.reset(seed=4)
    actions = np.array([0, 1])
    for _ in range(12):
        first.step(actions)
    inner.set_state(second, inner.state(first, pickled=True))
    for _ in range(30):
        one, other = first.step(actions), second.step(actions)
        for left, right in zip(one[:4], other[:4], strict=True):
            np.testing.assert_array_equal(left, right)


def test_what_tells_nothing_is_named() -> None:
    assert inner.missing(vector(kept)) is None
    assert inner.missing(vector(Drawing)) == "Drawing"
    wrapped = vector(lambda: TransformReward(kept(), float))
    assert inner.missing(wrapped) == "TransformReward"
    assert inner.missing(RecordEpisodeStatistics(vector(kept))) == (
        "RecordEpisodeStatistics"
    )
    assert inner.state(wrapped) is None
    assert inner.missing(gym.make_vec("CartPole-v1", 2)) == "CartPoleVectorEnv"


def test_a_state_is_plain() -> None:
    env = vector(kept)
    env.reset(seed=0)
    (own, *layers) = inner.state(env)
    assert own["_autoreset_envs"].tolist() == [False, False]
    assert len(layers) == 4 and json.dumps(layers)  # a limit and an environment, twice


def test_what_cannot_be_pickled_is_told() -> None:
    env = vector(lambda: TransformReward(kept(), lambda reward: reward))
    with pytest.raises(ValueError, match=r"can be pickled.*Received: TransformReward,"):
        inner.state(env, pickled=True)
