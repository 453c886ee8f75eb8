"""Training under MirroredStrategy, over two logical CPUs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg


@pytest.fixture
def strategy() -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def test_fit_learns_cartpole(strategy: tf.distribute.Strategy, tmp_path: Path) -> None:
    env = kpg.make("CartPole-v1", num_envs=8, seed=1)
    with strategy.scope():
        policy = kpg.models.Policy(env.observation_space, env.action_space, seed=1)
        critic = kpg.models.Critic(env.observation_space, seed=1)
        trainer: Any = kpg.trainers.PPO(
            policy,
            critic,
            seed=1,
            num_steps=32,
            num_epochs=20,
            minibatch_size=256,
            gamma=0.98,
            gae_lambda=0.8,
            normalize_observations=True,
            normalize_rewards=True,
        )
        trainer.compile(keras.optimizers.Adam(1e-3), steps_per_execution=16)
    history = trainer.fit(
        env,
        epochs=4,
        steps_per_epoch=32,
        validation_data=kpg.make("CartPole-v1", num_envs=50, seed=2),
        validation_episodes=50,
        verbose=0,
    ).history
    assert max(history["val_return"]) >= 475
    assert trainer._engine.function.experimental_get_tracing_count() == 1
    for variable in trainer.trainable_variables:
        copies = strategy.experimental_local_results(variable.value)
        np.testing.assert_array_equal(*copies)
    trainer.save(tmp_path / "trainer.keras")
    rows = np.random.default_rng(0).normal(size=(9, 4)).astype("float32")
    loaded = kpg.load(tmp_path / "trainer.keras")
    np.testing.assert_array_equal(
        loaded.predict(rows, verbose=0), trainer.predict(rows, verbose=0)
    )


@pytest.mark.parametrize("algorithm", ["ActorCritic", "REINFORCE"])
def test_the_other_algorithms_and_host_environments_run(
    algorithm: str,
    strategy: tf.distribute.Strategy,
    make_trainer: Callable[..., Any],
) -> None:
    with strategy.scope():
        trainer = make_trainer(algorithm)
    for backend in ("graph", "gymnasium"):
        env = kpg.make("CartPole-v1", num_envs=4, seed=0, backend=backend)
        history = trainer.fit(env, steps_per_epoch=2, verbose=0).history
        assert np.isfinite(history["loss"]).all()


def test_replicas_act_differently(
    strategy: tf.distribute.Strategy, make_trainer: Callable[..., Any]
) -> None:
    with strategy.scope():
        trainer = make_trainer("PPO")
    trainer.fit(kpg.make("CartPole-v1", num_envs=4, seed=0), verbose=0)
    states, _ = trainer._engine._carry
    first, second = strategy.experimental_local_results(states.states)
    assert not np.allclose(first, second)


def test_refuses_what_replicas_cannot_share(
    strategy: tf.distribute.Strategy, make_trainer: Callable[..., Any]
) -> None:
    with strategy.scope():
        trainer = make_trainer("PPO")
        with pytest.raises(ValueError, match="several replicas, which XLA"):
            trainer.compile(jit_compile=True)
    env = kpg.make("CartPole-v1", num_envs=3)
    with pytest.raises(ValueError, match=r"replicas must divide.*Received: 2 replicas"):
        trainer.fit(env)
