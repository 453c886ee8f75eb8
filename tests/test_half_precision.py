"""Keras's mixed precision: networks compute in half of it, all else as ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.models import Critic, Policy
from tests.fragments import values_of

TEXT = gym.spaces.Dict(
    place=gym.spaces.Box(-1.0, 1.0, (3,)), word=gym.spaces.Text(4, charset="abc")
)
FORCES = gym.spaces.Box(-1.0, 1.0, (2,))


@pytest.fixture
def half() -> Iterator[None]:
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(usual)


def observations() -> dict[str, tf.Tensor]:
    random = np.random.default_rng(0)
    return {
        "place": tf.constant(random.normal(size=(5, 3)), tf.float32),
        "word": tf.constant(random.integers(4, size=(5, 4)), tf.int32),
    }


@pytest.mark.parametrize("memory", [None, "gru", "transformer"])
def test_outputs_are_near_those_of_single_precision(
    memory: str | None, half: None
) -> None:
    models: list[Any] = [Policy(TEXT, FORCES, memory=memory, seed=0)]
    models.append(Critic(TEXT, memory=memory, seed=0))
    keras.config.set_dtype_policy("float32")
    whole: list[Any] = [Policy(TEXT, FORCES, memory=memory, seed=0)]
    whole.append(Critic(TEXT, memory=memory, seed=0))
    for model, want in zip(models, whole, strict=True):
        model.head.kernel.assign(100.0 * model.head.kernel)
        want.set_weights(model.get_weights())
        got, expected = model(observations()), want(observations())
        assert got.dtype == tf.float32
        error = np.abs(got - expected).max() / np.abs(expected).max()
        assert 0.0 < error < 0.05
        state = model.step(observations(), model.initial_state(5))[1]
        assert all(part.dtype == tf.float32 for part in state)


def test_observations_are_standardised_with_all_their_digits(half: None) -> None:
    space = gym.spaces.Box(-np.inf, np.inf, (1,))
    policy = Policy(space, gym.spaces.Discrete(2), seed=0)
    (_, normalizer), *_ = policy.normalizers
    normalizer.mean.assign([1000.0])
    normalizer.count.assign(1.0)
    rows = tf.constant([[1000.0], [1001.0]])  # one number in bfloat16
    np.testing.assert_allclose(policy.encoder(rows), [[0.0], [1.0]], atol=1e-4)
    assert np.abs(np.diff(policy(rows), axis=0)).max() > 0.0


@pytest.mark.parametrize("algorithm", ["PPO", "ActorCritic"])
def test_trainers_learn_in_it(
    algorithm: str, half: None, request: pytest.FixtureRequest
) -> None:
    if algorithm != "PPO":  # one of them shows that a graph can be made
        request.getfixturevalue("one_by_one")
    env = kpg.make("Pendulum-v1", num_envs=4, seed=0)
    policy = Policy(env.observation_space, env.action_space, seed=0)
    critic = Critic(env.observation_space, seed=0)
    trainer = getattr(kpg.trainers, algorithm)(
        policy, critic, num_steps=16, normalize_observations=True, seed=0
    )
    trainer.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    before = values_of(trainer.trainable_variables)
    history = trainer.fit(env, steps_per_epoch=3, verbose=0).history
    losses = [history[name] for name in ("policy_loss", "value_loss", "entropy")]
    assert np.isfinite(losses).all()
    for old, new in zip(before, values_of(trainer.trainable_variables), strict=True):
        assert new.dtype == np.float32
        assert not np.array_equal(old, new)
