"""Time limits are found wherever Gymnasium keeps them."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import ClipReward, TimeLimit
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from kpg import limits
from tests.environments import Counting, limited


def wrapped() -> Any:
    return ClipReward(TimeLimit(TimeLimit(Counting(), 9), 7), -1.0, 1.0)


def specified(id: str) -> Any:
    env = Counting()
    env.spec = EnvSpec(id, max_episode_steps=30)
    return env


def stating(limit: Any) -> Any:
    env: Any = Counting()
    env.max_episode_steps = limit
    return env


@pytest.mark.parametrize(
    ("make", "limit"),
    [
        (Counting, None),
        (lambda: limited(0), 5),
        (wrapped, 7),
        (lambda: SyncVectorEnv([lambda: limited(0), wrapped]), 7),
        (lambda: SyncVectorEnv([Counting, wrapped]), None),
        (lambda: RecordEpisodeStatistics(SyncVectorEnv([wrapped])), 7),
        (lambda: gymnasium.make("CartPole-v1"), 500),
        (lambda: gymnasium.make("CartPole-v1", max_episode_steps=20), 20),
        # Its spec still tells the limit, but nothing keeps it any more.
        (lambda: gymnasium.make("CartPole-v1").unwrapped, None),
        (lambda: gymnasium.make_vec("CartPole-v1", 2, max_episode_steps=20), 20),
        (lambda: specified("Own-v0"), 30),
        (lambda: stating(12), 12),
        (lambda: stating("soon"), None),
    ],
)
def test_where_limits_are(make: Any, limit: int | None) -> None:
    env = make()
    assert limits.time_limit(env) == limit
    env.close()


def test_processes_are_asked() -> None:
    for makers, limit in (([wrapped], 7), ([Counting], None)):
        env: VectorEnv[Any, Any, Any] = AsyncVectorEnv(makers)
        try:
            assert limits.time_limit(env) == limit
            env.reset(seed=0)  # it still works
        finally:
            env.close()
