"""Keras's mixed precision: networks compute in half of it, all else as ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
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


HALVES = ["mixed_float16", "mixed_bfloat16"]


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
    history = trainer.fit(env, steps_per_epoch=2, verbose=0).history
    losses = [history[name] for name in ("policy_loss", "value_loss", "entropy")]
    assert np.isfinite(losses).all()
    for old, new in zip(before, values_of(trainer.trainable_variables), strict=True):
        assert new.dtype == np.float32
        assert not np.array_equal(old, new)


def compiled(
    policy: str, optimizer: Any, algorithm: str = "PPO", **options: Any
) -> Any:
    """Returns a trainer for CartPole-v1 whose networks compute in a Keras policy."""
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    env = kpg.make("CartPole-v1", num_envs=8, seed=0)
    models: Any = (
        Policy(env.observation_space, env.action_space, seed=0),
        Critic(env.observation_space, seed=0),
    )
    settings = {"num_steps": 32, "minibatch_size": 64} if algorithm == "PPO" else {}
    trainer = getattr(kpg.trainers, algorithm)(*models, **settings, seed=0)
    trainer.compile(optimizer, **options)
    keras.config.set_dtype_policy(usual)
    return trainer, env


# Outputs are compared in the other half above; this one scales its loss.
@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize(
    "policy", [HALVES[0], pytest.param(HALVES[1], marks=pytest.mark.slow)]
)
def test_a_step_is_near_that_of_single_precision(policy: str, tmp_path: Path) -> None:
    def moved(policy: str, **options: Any) -> tuple[list[np.ndarray], Any]:
        options |= {"jit_compile": False}
        sgd = keras.optimizers.SGD(1.0)
        trainer, env = compiled(policy, sgd, "ActorCritic", **options)
        before = values_of(trainer.learned_variables())
        trainer.fit(env, steps_per_epoch=1, verbose=0)
        after = values_of(trainer.learned_variables())
        return [new - old for new, old in zip(after, before, strict=True)], trainer

    (want, single), (got, trainer) = moved("float32"), moved(policy)
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.1 * np.abs(theirs).max())
    scaled = keras.optimizers.LossScaleOptimizer
    assert isinstance(trainer.optimizer, scaled) == (policy == "mixed_float16")
    assert not isinstance(single.optimizer, scaled)
    plain = moved(policy, auto_scale_loss=False)[1]
    assert not isinstance(plain.optimizer, scaled)
    assert plain.get_compile_config()["auto_scale_loss"] is False
    assert trainer.get_compile_config()["auto_scale_loss"] is True
    trainer.save(tmp_path / "half.keras")
    loaded: Any = kpg.load(tmp_path / "half.keras")
    optimizers = loaded.optimizer.variables, trainer.optimizer.variables
    for ours, theirs in zip(*map(values_of, optimizers), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("policy", HALVES)
def test_half_precision_learns(policy: str, xla: bool) -> None:
    trainer, env = compiled(policy, keras.optimizers.Adam(3e-3), jit_compile=xla)
    history = trainer.fit(env, epochs=4, steps_per_epoch=10, verbose=0).history
    assert max(history["return"]) > 200.0


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["PPO", "ActorCritic"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_scaled_losses_learn(algorithm: str, dynamic: bool) -> None:
    adam = keras.optimizers.Adam(3e-3, loss_scale_factor=None if dynamic else 4096.0)
    optimizer = keras.optimizers.LossScaleOptimizer(adam) if dynamic else adam
    trainer, env = compiled("float32", optimizer, algorithm, jit_compile=False)
    steps = 10 if algorithm == "PPO" else 400
    history = trainer.fit(env, epochs=4, steps_per_epoch=steps, verbose=0).history
    assert max(history["return"]) > 100.0


@pytest.mark.slow
def test_replicas_scale_the_loss_together() -> None:
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        adam = keras.optimizers.Adam(3e-3, use_ema=True)
        trainer, env = compiled("mixed_float16", adam)
    history = trainer.fit(env, epochs=4, steps_per_epoch=10, verbose=0).history
    assert max(history["return"]) > 200.0
    for variable in trainer.trainable_variables:
        copies = strategy.experimental_local_results(variable.value)
        np.testing.assert_array_equal(*copies)
