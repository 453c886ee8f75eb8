"""EnvPool behind the contract of host environments."""

from __future__ import annotations

import importlib
import importlib.util
import runpy
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

import kpg
from kpg.environments import EnvPoolVectorEnv, HostEnvironment

# The tests are no package, so that none of their modules can be imported.
FakeEnvPool = runpy.run_path(str(Path(__file__).with_name("fake_envpool.py")))[
    "FakeEnvPool"
]
ACTIONS = np.array([1, 0, 1])


def fake_cart_poles() -> Any:
    return FakeEnvPool(
        {
            "CartPole-v1": (lambda copy: CartPoleEnv(), 500),
            "NotGymnasiums-v0": (lambda copy: CartPoleEnv(), 500),
            "Endless-v0": (lambda copy: CartPoleEnv(), 2**31 - 1),
        }
    )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = fake_cart_poles()
    monkeypatch.setitem(sys.modules, "envpool", module)
    return module


# The habits that the fake has of the real one.

REAL = ["envpool"] if importlib.util.find_spec("envpool") else []


@pytest.fixture(
    params=["fake", *(pytest.param(r, marks=pytest.mark.slow) for r in REAL)]
)
def module(request: pytest.FixtureRequest) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*precision lowered by casting.*")
        yield (
            fake_cart_poles()
            if request.param == "fake"
            else importlib.import_module("envpool")
        )


def pool_of(module: Any, **kwargs: Any) -> Any:
    kwargs = {"num_envs": 3, "seed": 5, **kwargs}
    return module.make("CartPole-v1", env_type="gymnasium", **kwargs)


def falls_at(module: Any) -> int:
    """Returns the step in which the pole of the first copy falls."""
    pool = pool_of(module)
    pool.reset()
    return next(t for t in range(1, 100) if pool.step(ACTIONS)[2][0])


def test_it_resets_in_the_step_after_an_end(module: Any) -> None:
    pool = pool_of(module)
    pool.reset()
    step = [pool.step(ACTIONS) for _ in range(falls_at(module))][-1]
    assert step[2][0]
    assert np.abs(step[0][0, 2]) > 0.2
    observations, rewards, terminated, truncated, infos = pool.step(ACTIONS)
    assert np.abs(observations[0]).max() <= 0.05
    assert (rewards[0], infos["elapsed_step"][0]) == (0.0, 0)
    assert not terminated[0] and not truncated[0]
    assert pool.step(ACTIONS)[4]["elapsed_step"][0] == 1


def test_it_hides_a_termination_in_the_last_step(module: Any) -> None:
    count = falls_at(module)
    pool = pool_of(module, max_episode_steps=count)
    pool.reset()
    step = [pool.step(ACTIONS) for _ in range(count)][-1]
    assert np.abs(step[0][0, 2]) > 0.2
    assert (bool(step[2][0]), bool(step[3][0])) == (False, True)


def test_it_resets_single_rows(module: Any) -> None:
    pool = pool_of(module)
    pool.reset()
    for _ in range(3):
        pool.step(ACTIONS)
    observations, _ = pool.reset(np.array([2, 0], np.int32))
    assert observations.shape == (2, 4)
    assert pool.step(ACTIONS)[4]["elapsed_step"].tolist() == [1, 4, 1]


def test_its_seeds_are_fixed_and_overlap(module: Any) -> None:
    first, second = (pool_of(module, seed=seed).reset()[0] for seed in (5, 6))
    np.testing.assert_array_equal(first[1:], second[:-1])
    with pytest.warns(UserWarning, match="seeds are fixed"):
        pool_of(module).reset(seed=6)


def test_its_spaces_are_those_of_one_copy(module: Any) -> None:
    pool = pool_of(module)
    assert pool.observation_space == pool.single_observation_space
    assert pool.observation_space.shape == (4,)


# What the adapter makes of them.


@pytest.fixture(
    params=["fake", *(pytest.param(r, marks=pytest.mark.slow) for r in REAL)]
)
def installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "fake":
        monkeypatch.setitem(sys.modules, "envpool", fake_cart_poles())
    return str(request.param)


def made(num_envs: int = 3, **kwargs: Any) -> HostEnvironment:
    env = kpg.make("envpool:CartPole-v1", num_envs=num_envs, **{"seed": 5, **kwargs})
    assert isinstance(env, HostEnvironment)
    return env


def test_it_keeps_the_contract_of_host_environments(installed: str) -> None:
    env = made()
    observations = env.reset()
    lengths = np.zeros(3, int)
    for _ in range(60):
        assert (np.abs(observations[lengths == 0]) <= 0.05).all()
        step = env.step(ACTIONS)
        lengths += 1
        assert step.valid.all()
        assert (step.rewards == 1.0).all()
        fell = np.abs(step.next_observations[:, 2]) > 12 * np.pi / 180
        np.testing.assert_array_equal(step.terminated, fell)
        assert not step.truncated.any()
        lengths[step.terminated] = 0
        observations = step.observations
    assert env.max_episode_steps == 500
    assert env.spec is not None
    assert env.spec.id == "CartPole-v1"
    env.close()
    env.close()


def test_termination_is_told_from_truncation_in_the_last_step(installed: str) -> None:
    env = made()
    env.reset()
    steps = iter(lambda: env.step(ACTIONS), None)
    count = next(t for t, step in enumerate(steps, 1) if step.terminated[0])
    for limit, flags in (
        (count, (True, False)),
        (count - 1, (False, True)),
    ):
        env = made(max_episode_steps=limit)
        assert env.max_episode_steps == limit
        env.reset()
        rows = [env.step(ACTIONS) for _ in range(limit)]
        assert not any(row.terminated[0] or row.truncated[0] for row in rows[:-1])
        assert (rows[-1].terminated[0], rows[-1].truncated[0]) == flags
        assert np.abs(rows[-1].observations[0]).max() <= 0.05
        assert np.abs(rows[-1].next_observations[0, 2]) > 0.15


def test_one_seed_gives_one_course(installed: str) -> None:
    first = made().reset()
    np.testing.assert_array_equal(first, made().reset())
    env = made()
    np.testing.assert_array_equal(env.reset(), first)
    after = env.step(ACTIONS).observations
    assert not np.isin(env.reset(), first).any()
    np.testing.assert_array_equal(env.reset(seed=5), first)
    np.testing.assert_array_equal(env.step(ACTIONS).observations, after)
    assert not np.isin(made(seed=6).reset(), first).any()
    # Without a seed no two environments are alike, though EnvPool's default is 42.
    assert not np.isin(made(seed=None).reset(), made(seed=None).reset()).any()


def test_a_pool_of_ones_own_is_a_vector_environment(module: Any) -> None:
    env = kpg.environments.as_environment(pool_of(module))
    assert isinstance(env, HostEnvironment)
    env.reset()
    ended = np.zeros(3, bool)
    for _ in range(40):
        step = env.step(ACTIONS)
        np.testing.assert_array_equal(step.valid, ~ended)
        ended = step.terminated | step.truncated
    with pytest.raises(ValueError, match=r"shape \(3,\).*Received: shape \(2,\)"):
        env.step(ACTIONS[:2])


def test_limits_that_gymnasium_does_not_know_stay_with_envpool(fake: Any) -> None:
    EnvPoolVectorEnv("CartPole-v1", max_episode_steps=9)
    EnvPoolVectorEnv("NotGymnasiums-v0", max_episode_steps=9)
    endless = EnvPoolVectorEnv("Endless-v0")
    limits = [arguments.get("max_episode_steps") for arguments in fake.made]
    assert limits == [10, 9, None]
    assert endless.spec is not None
    assert endless.spec.max_episode_steps is None
    env = kpg.make("envpool:NotGymnasiums-v0", seed=5, max_episode_steps=3)
    assert isinstance(env, HostEnvironment)
    env.reset()
    assert [env.step([0]).truncated[0] for _ in range(3)] == [False, False, True]


def test_arguments_reach_envpool(fake: Any) -> None:
    env = made(num_threads=2)
    assert env.spec is not None
    assert env.spec.reward_threshold == 7.0
    assert fake.made[0]["num_threads"] == 2
    assert all(0 <= call["seed"] < 2**31 - 3 for call in fake.made)


def test_an_unknown_id_names_close_ones(fake: Any) -> None:
    with pytest.raises(ValueError, match="EnvPool must have.*id='CartPole-v2'. Did"):
        kpg.make("envpool:CartPole-v2")
    with pytest.raises(ValueError, match="Received: id='qqqqqqqq'. `envpool.list_"):
        kpg.make("qqqqqqqq", backend="envpool")
