"""EnvPool behind the contract of host environments."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

import kpg
from kpg.environments import EnvPoolVectorEnv, HostEnvironment
from tests.fake_envpool import FakeEnvPool

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


def test_threads_are_shared_out_to_the_pools(fake: Any) -> None:
    made(10, num_pools=2, num_threads=5)
    assert [(pool["num_envs"], pool["num_threads"]) for pool in fake.made] == [
        (5, 2)
    ] * 2
    assert fake.made[1]["seed"] == fake.made[0]["seed"] + 5
    fake.made.clear()
    made(10, num_pools=2)
    made(10, num_pools=5, num_threads=2)
    assert all(1 <= pool["num_threads"] <= 5 for pool in fake.made[:2])
    assert [pool["num_threads"] for pool in fake.made[2:]] == [1] * 5
    assert made(10).parts == (slice(0, 10),)


@pytest.mark.parametrize("num_pools", [0, 3, 1.0, "2"])
def test_a_number_of_pools_must_divide_the_copies(fake: Any, num_pools: Any) -> None:
    with pytest.raises(ValueError, match=r"`num_pools` must .*Received: num_pools="):
        made(4, num_pools=num_pools)


# Several pools, of which one steps while the policy acts for another.


def test_several_pools_are_like_one(installed: str) -> None:
    one, two = made(4, num_pools=1), made(4, num_pools=2, max_episode_steps=500)
    draws = np.random.default_rng(1)
    assert [part.stop for part in two.parts] == [2, 4]
    np.testing.assert_array_equal(one.reset(), two.reset())
    ends = 0
    for _ in range(80):
        actions = draws.integers(2, size=4)
        first, second = one.step(actions), two.step(actions)
        for own, other in zip(first, second, strict=True):
            np.testing.assert_array_equal(own, other)
        ends += int(first.terminated.sum())
    assert ends > 5


def test_a_reset_forgets_steps_that_nobody_waited_for(installed: str) -> None:
    env, other = made(4, num_pools=2), made(4, num_pools=2)
    env.reset()
    env.send(np.array([1, 1]), 0)
    env.send(np.array([0, 1]), 1)
    np.testing.assert_array_equal(env.reset(seed=3), other.reset(seed=3))
    env.send(np.array([1, 1]), 1)
    # What a pool has stepped and drawn so far differs; what it answers to does not.
    assert (np.abs(env.reset()) <= 0.05).all()
    step = env.step(np.array([1, 0, 1, 0]))
    assert (step.observations[[0, 2], 1] > step.observations[[1, 3], 1]).all()
    env.send(np.array([1, 1]), 1)
    env.close()


def test_a_part_wants_its_own_number_of_actions(fake: Any) -> None:
    env = made(4, num_pools=2)
    with pytest.raises(ValueError, match="Call `reset` before"):
        env.send(np.array([1, 1]), 0)
    env.reset()
    with pytest.raises(ValueError, match=r"shape \(2,\).*Received: shape \(4,\)"):
        env.send(np.array([1, 1, 1, 1]), 1)
    with pytest.raises(ValueError, match=r"shape \(4,\).*Received: shape \(2,\)"):
        env.step(np.array([1, 1]))


def test_an_unknown_id_names_close_ones(fake: Any) -> None:
    with pytest.raises(ValueError, match="EnvPool must have.*Did.*id='CartPole-v2'"):
        kpg.make("envpool:CartPole-v2")
    with pytest.raises(ValueError, match="environment. Call .*id='qqqqqqqq'"):
        kpg.make("qqqqqqqq", backend="envpool")
