"""Evaluation counts every episode once, whatever its length."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import kpg
from tests.environments import Counting, Noted, Paid, Walk

Make = Callable[..., Any]


def test_short_episodes_do_not_count_more(make_trainer: Make) -> None:
    """Stopping at the first N ends would favour short episodes: mean 2.5 is right."""
    env = kpg.environments.as_environment(Walk(length=(1, 4)), num_envs=100, seed=0)
    trainer = make_trainer("PPO", env=env)
    result = trainer.evaluate(env, episodes=2_030)
    assert result["episodes"] == len(result["returns"]) == 2_030
    assert set(np.unique(result["returns"])) == {1.0, 2.0, 3.0, 4.0}
    error = np.sqrt(1.25 / 2_030)
    assert abs(result["return"] - 2.5) < 4 * error
    assert result["length"] == result["return"]
    assert result["return_std"] == pytest.approx(np.std(result["returns"]))


@pytest.mark.parametrize("backend", ["graph", "gymnasium"])
def test_the_seed_decides_where_episodes_start(
    backend: Any, make_trainer: Make
) -> None:
    env = kpg.make("CartPole-v1", num_envs=5, seed=3, backend=backend)
    trainer = make_trainer("PPO", env=env, minibatch_size=8)
    first, again = (trainer.evaluate(env, 12)["returns"] for _ in range(2))
    other = trainer.evaluate(env, 12, seed=4)["returns"]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(first) == 12


def test_time_limits_end_episodes_and_both_backends_agree(make_trainer: Make) -> None:
    """A policy that always pushes left never leaves MountainCar's valley."""
    envs = [
        kpg.make("MountainCar-v0", num_envs=3, seed=0, backend=backend)
        for backend in ("graph", "gymnasium")
    ]
    trainer = make_trainer("PPO", env=envs[0])
    trainer.policy.head.bias.assign([9.0, 0.0, 0.0])
    for env in envs:
        result = trainer.evaluate(env, 4)
        np.testing.assert_array_equal(result["returns"], [-200.0] * 4)
        assert result["length"] == 200.0


def test_sampled_evaluation_differs_from_the_greedy_one(make_trainer: Make) -> None:
    env = kpg.make("CartPole-v1", num_envs=20, seed=0)
    trainer = make_trainer("PPO", env=env, minibatch_size=8)
    trainer.policy.head.bias.assign([0.1, 0.0])  # greedily always left: ten steps
    trainer.policy.head.kernel.assign(tf.zeros_like(trainer.policy.head.kernel))
    assert trainer.evaluate(env, 40)["return"] < 11
    assert trainer.evaluate(env, 40, deterministic=False)["return"] > 15


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("mode", ["in graph", *AutoresetMode])
def test_every_episode_begins_without_a_memory(mode: Any) -> None:
    if mode == "in graph":
        walk = Walk(
            lambda time, action: action[:, 0], 3, action_space=Paid.action_space
        )
        env = kpg.environments.as_environment(walk, num_envs=2, seed=0)
    else:
        vector = SyncVectorEnv([Paid] * 2, autoreset_mode=mode)
        env = kpg.environments.as_environment(vector, seed=0)
    spaces = env.observation_space, env.action_space
    options: Any = {"hidden_units": (2,), "memory": "gru", "memory_units": 2, "seed": 0}
    policy = kpg.models.Policy(*spaces, **options)
    numbers = np.random.default_rng(0)
    for weight in policy.trainable_variables:
        weight.assign_add(numbers.normal(size=weight.shape))
    critic = kpg.models.Critic(spaces[0], hidden_units=(2,))
    returns = kpg.trainers.PPO(policy, critic).evaluate(env, 6)["returns"]
    state, expected = policy.initial_state(1), 0.0
    for left in (3.0, 2.0, 1.0):
        actions, state = policy.step(tf.constant([[left]]), state)
        expected += float(actions[0, 0])
    np.testing.assert_allclose(returns, [expected] * 6, rtol=1e-5)
    actions, _ = policy.step(tf.constant([[3.0]]), state)
    first, _ = policy.step(tf.constant([[3.0]]), policy.initial_state(1))
    assert abs(float(actions[0, 0] - first[0, 0])) > 0.01  # what a memory would change


def test_evaluation_plays_other_episodes_than_training(make_trainer: Make) -> None:
    vector = Noted()
    env = kpg.environments.HostEnvironment(vector, seed=3)
    trainer = make_trainer("PPO", env=env)
    trainer.evaluate(env, 1)
    trainer.evaluate(env, 1, seed=7)
    trainer.evaluate(env, 1)
    own, given, again = vector.seeds
    assert own == again != 3 and given == 7


ENDLESS = {
    "graph": lambda: kpg.environments.as_environment(Walk(), num_envs=2, seed=0),
    # Even episodes of a copy end after 3 + copy steps, odd ones never.
    "gymnasium": lambda: kpg.environments.as_environment(
        SyncVectorEnv([lambda: Counting(0), lambda: Counting(1)]), seed=0
    ),
}


@pytest.mark.parametrize("backend", [*ENDLESS])
def test_an_episode_that_does_not_end_is_cut(backend: str, make_trainer: Make) -> None:
    env = ENDLESS[backend]()
    trainer = make_trainer("PPO", env=env)
    result = trainer.evaluate(env, 5, max_steps=np.int64(7))
    assert len(result["returns"]) == 5
    lengths = [7.0] * 5
    if backend == "gymnasium":  # both are cut once, and then start anew
        lengths = [3.0, 4.0, 7.0, 7.0, 3.0]
    assert result["length"] == pytest.approx(np.mean(lengths))
    assert result["cut"] == lengths.count(7.0)
    again = trainer.evaluate(ENDLESS[backend](), 5, max_steps=7)
    np.testing.assert_array_equal(again["returns"], result["returns"])


@pytest.mark.parametrize("backend", [*ENDLESS])
def test_without_a_limit_there_is_a_bound_and_a_warning(
    backend: str, make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kpg.trainers.acting.evaluation.LONGEST_EPISODE", 20)
    env = ENDLESS[backend]()
    trainer = make_trainer("PPO", env=env)
    cut = 4 if backend == "graph" else 2
    with pytest.warns(UserWarning, match=rf"{cut} of 4 episodes.*20 steps.*max_steps"):
        result = trainer.evaluate(env, 4)
    assert result["cut"] == cut


def test_an_interruption_is_heeded_between_two_calls(make_trainer: Make) -> None:
    """Without it an evaluation in the graph would be one call that nothing stops."""
    env = ENDLESS["graph"]()
    trainer = make_trainer("PPO", env=env)
    trainer.evaluate(env, 2, max_steps=3)  # builds the graph
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        started = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            trainer.evaluate(env, 2, max_steps=10**9)
        assert time.perf_counter() - started < 5.0
    finally:
        signal.signal(signal.SIGALRM, before)
    assert trainer.evaluate(env, 2, max_steps=3)["length"] == 3.0


def test_a_later_bound_changes_nothing(make_trainer: Make) -> None:
    env = kpg.make("CartPole-v1", num_envs=3, seed=3)
    trainer = make_trainer("PPO", env=env)
    usual, bounded = (trainer.evaluate(env, 7, max_steps=n) for n in (None, 500))
    np.testing.assert_array_equal(usual["returns"], bounded["returns"])
    assert usual["cut"] == bounded["cut"] == 0


@pytest.mark.parametrize("wrong", [0, 2.5, -1])
def test_a_bound_that_is_none_is_refused(wrong: Any, make_trainer: Make) -> None:
    env = ENDLESS["graph"]()
    with pytest.raises(ValueError, match="`max_steps` must be a whole number"):
        make_trainer("PPO", env=env).evaluate(env, 2, max_steps=wrong)
