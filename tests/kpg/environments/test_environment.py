"""What every environment has."""

from __future__ import annotations

from typing import Any

import pytest

import kpg
from kpg.environments import Environment, GraphEnvironment, HostEnvironment


@pytest.mark.parametrize("backend", ["graph", "gymnasium"])
def test_both_kinds_keep_one_contract(backend: Any) -> None:
    env = kpg.make("CartPole-v1", num_envs=2, seed=3, backend=backend)
    assert isinstance(env, Environment)
    assert isinstance(env, (GraphEnvironment, HostEnvironment))
    assert (env.num_envs, env.seed, env.max_episode_steps) == (2, 3, 500)
    assert env.observation_space.shape == (4,)
    assert env.spec is not None
    assert env.spec.reward_threshold == 475.0
    assert env.measured() == {}
    assert env.partner() is None
    env.close()
    env.close()


def test_an_environment_must_say_its_limit_and_how_it_is_closed() -> None:
    class Half(Environment):
        pass

    with pytest.raises(TypeError, match="close.*max_episode_steps"):
        Half()  # type: ignore[abstract]


def test_names_that_live_elsewhere_are_found() -> None:
    for name in ("TextGeneration", "ControlledGeneration", "Maze", "Probe", "ProbeEnv"):
        assert getattr(kpg.environments, name).__name__ == name
        assert name in dir(kpg.environments)
    with pytest.raises(AttributeError, match="has no attribute 'Prob'"):
        _ = kpg.environments.Prob
