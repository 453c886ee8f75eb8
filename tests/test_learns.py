"""Trainers learn what they are known to be able to learn (slow)."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from tests.environments import Walk

pytestmark = pytest.mark.slow


def trained(
    algorithm: str,
    env: Any,
    *,
    seed: int,
    learning_rate: float,
    iterations: int,
    **settings: Any,
) -> Any:
    spaces = env.observation_space, env.action_space
    trainer = getattr(kpg.trainers, algorithm)(
        kpg.models.Policy(*spaces, seed=seed),
        kpg.models.Critic(spaces[0], seed=seed),
        seed=seed,
        **settings,
    )
    optimizer = keras.optimizers.Adam(learning_rate, epsilon=1e-5)
    trainer.compile(optimizer, steps_per_execution=iterations)
    trainer.fit(env, steps_per_epoch=iterations, verbose=0)
    return trainer


CARTPOLE: dict[str, dict[str, Any]] = {
    "PPO": {
        "num_envs": 8,
        "num_steps": 32,
        "num_epochs": 20,
        "minibatch_size": 256,
        "gamma": 0.98,
        "gae_lambda": 0.8,
        "learning_rate": 1e-3,
        "learning_rate_schedule": "linear",
        "clip_range_schedule": "linear",
        "iterations": 390,
    },
    "ActorCritic": {
        "num_envs": 16,
        "num_steps": 16,
        "gae_lambda": 0.95,
        "learning_rate": 3e-3,
        "learning_rate_schedule": "linear",
        "normalize_rewards": True,
        "iterations": 2000,
    },
    "REINFORCE": {
        "num_envs": 16,
        "num_steps": 500,
        "learning_rate": 3e-3,
        "learning_rate_schedule": "linear",
        "iterations": 600,
    },
}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("algorithm", CARTPOLE)
def test_cartpole_is_solved(algorithm: str, seed: int) -> None:
    settings = dict(CARTPOLE[algorithm])
    env = kpg.make("CartPole-v1", num_envs=settings.pop("num_envs"), seed=seed)
    trainer = trained(algorithm, env, seed=seed, **settings)
    fresh = kpg.make("CartPole-v1", num_envs=100, seed=1000 + seed)
    assert trainer.evaluate(fresh)["return"] >= 475


def test_cartpole_is_solved_on_the_host_too() -> None:
    settings = dict(CARTPOLE["PPO"])
    count = settings.pop("num_envs")
    env = kpg.make("CartPole-v1", num_envs=count, seed=0, backend="gymnasium")
    trainer = trained("PPO", env, seed=0, **settings)
    fresh = kpg.make("CartPole-v1", num_envs=20, seed=7, backend="gymnasium")
    assert trainer.evaluate(fresh)["return"] >= 475


@pytest.mark.parametrize("algorithm", ["PPO", "ActorCritic", "REINFORCE"])
def test_continuous_actions_find_their_target(algorithm: str) -> None:
    # One step: the reward is minus the squared distance of the action from 0.3.
    target = Walk(
        lambda time, action: -tf.square(action[:, 0] - 0.3),
        length=1,
        shows_time=False,
        action_space=gym.spaces.Box(-1.0, 1.0, (1,)),
    )
    env = kpg.environments.as_environment(target, num_envs=64, seed=0)
    settings: dict[str, Any] = {"num_steps": 2}
    if algorithm == "PPO":
        settings |= {"minibatch_size": 128, "num_epochs": 4}
    if algorithm == "REINFORCE":
        settings |= {"whole_episodes": False}
    trainer = trained(
        algorithm, env, seed=0, learning_rate=3e-3, iterations=1000, **settings
    )
    action = trainer.predict(np.zeros((1, 1), "float32"), verbose=0)
    assert float(action[0, 0]) == pytest.approx(0.3, abs=0.1)


def test_the_value_of_an_endless_reward_is_learned() -> None:
    """V = 1/(1−γ) = 10 behind a time limit; where the episode ends it stays below."""
    values = []
    # The limit that counts as an end: the known bug, made an environment.
    both: tuple[dict[str, Any], ...] = ({"max_episode_steps": 8}, {"length": 8})
    for limits in both:
        walk = Walk(shows_time=False, **limits)
        env = kpg.environments.as_environment(walk, num_envs=16, seed=0)
        trainer = trained(
            "ActorCritic",
            env,
            seed=0,
            learning_rate=3e-3,
            iterations=3000,
            gamma=0.9,
            num_steps=8,
            max_grad_norm=None,
        )
        values.append(float(trainer.critic(np.zeros((1, 1), "float32"))[0]))
    assert values[0] == pytest.approx(10.0, abs=0.5)
    assert values[1] < 9.0
