"""One iteration of learning against naive transcriptions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from tests.fragments import B, T, collected, fragment, learn, values_of


def weights(trainer: Any) -> list[np.ndarray]:
    return values_of(trainer.trainable_variables)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("algorithm", ["PPO", "ActorCritic", "REINFORCE"])
def test_the_first_minibatch_has_ratio_one(
    algorithm: str, make_trainer: Callable[..., Any]
) -> None:
    """Also when the normaliser has moved, and on either kind of environment."""
    for backend in ("graph", "gymnasium"):
        env = kpg.make(
            "CartPole-v1", num_envs=4, seed=0, backend=backend, max_episode_steps=16
        )
        trainer = make_trainer(
            algorithm,
            env=env,
            normalize_observations=True,
            num_steps=16 if algorithm == "REINFORCE" else 8,
        )
        trainer.fit(env, steps_per_epoch=2, verbose=0)
        rows, _ = collected(trainer, env)
        observations = tf.reshape(rows.observations, [-1, 4])
        log_probs = trainer.policy.log_prob(
            observations, tf.reshape(rows.actions, [-1])
        )
        ratios = np.exp(log_probs - tf.reshape(rows.log_probs, [-1]))
        assert np.abs(ratios - 1.0).max() < 1e-5
        ((_, normalizer),) = trainer.policy.normalizers
        assert float(normalizer.count) > 0


@pytest.mark.parametrize("masked", [False, True])
def test_one_actor_critic_step_is_the_gradient_of_the_paper(
    masked: bool, make_trainer: Callable[..., Any]
) -> None:
    """θ ← θ − η ∇[−mean(log π Â) + c_v ½ mean((V − R)²) − c_e mean(H)], naively."""
    trainer = make_trainer(
        "ActorCritic",
        num_steps=T,
        gamma=0.9,
        gae_lambda=0.8,
        vf_coef=0.7,
        ent_coef=0.1,
        max_grad_norm=None,
        optimizer=keras.optimizers.SGD(0.1),
    )
    rows = fragment(trainer.policy, masked)
    policy, critic = trainer.policy, trainer.critic
    valid = np.ones((T, B), bool) if rows.valid is None else rows.valid.numpy()
    values = critic(tf.reshape(rows.observations, [-1, 4])).numpy().reshape(T, B)
    following = critic(tf.reshape(rows.next_observations, [-1, 4])).numpy()
    following = following.reshape(T, B) * ~rows.terminated.numpy()
    deltas = rows.rewards.numpy() + 0.9 * following - values
    gains = np.zeros((T, B))
    for start in range(T):
        for column in range(B):
            weight = 1.0
            for time in range(start, T):
                gains[start, column] += weight * deltas[time, column]
                if rows.terminated[time, column] or rows.truncated[time, column]:
                    break
                weight *= 0.9 * 0.8
    with tf.GradientTape() as tape:
        oracle = policy.distribution(tf.reshape(rows.observations, [-1, 4]))
        log_probs = oracle.log_prob(tf.reshape(rows.actions, [-1]))
        errors = critic(tf.reshape(rows.observations, [-1, 4])) - tf.constant(
            (gains + values).reshape(-1), tf.float32
        )
        terms = (
            -log_probs * tf.constant(gains.reshape(-1), tf.float32)
            + 0.7 * 0.5 * tf.square(errors)
            - 0.1 * oracle.entropy()
        )
        loss = tf.reduce_mean(tf.boolean_mask(terms, valid.reshape(-1)))
    variables = trainer.trainable_variables
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    expected = [w - 0.1 * g for w, g in zip(weights(trainer), gradients, strict=True)]
    _, metrics = learn(trainer, rows)
    assert metrics["loss"] == pytest.approx(float(loss), rel=1e-4)
    for got, want in zip(weights(trainer), expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_the_whole_gradient_is_clipped(make_trainer: Callable[..., Any]) -> None:
    """Elementwise clipping, a known bug of the field, would leave a larger step."""
    trainer = make_trainer(
        "ActorCritic",
        num_steps=T,
        max_grad_norm=0.01,
        optimizer=keras.optimizers.SGD(1.0),
    )
    before = weights(trainer)
    learn(trainer, fragment(trainer.policy))
    moves = [a - b for a, b in zip(weights(trainer), before, strict=True)]
    norm = np.sqrt(sum(np.sum(np.square(move)) for move in moves))
    assert norm == pytest.approx(0.01, rel=1e-3)
    elementwise = np.sqrt(sum(move.size for move in moves)) * 0.01
    assert elementwise > 2 * norm  # what the mutant could reach


def test_a_broken_trajectory_teaches_nothing(make_trainer: Callable[..., Any]) -> None:
    for field in ("rewards", "next_observations"):
        trainer = make_trainer(
            "PPO",
            num_steps=T,
            minibatch_size=T * B,
            normalize_rewards=True,
            normalize_observations=True,
        )
        rows = fragment(trainer.policy)
        values = getattr(rows, field).numpy()
        values.flat[3] = np.inf
        before = values_of(trainer.weights)
        carry, metrics = learn(trainer, rows._replace(**{field: tf.constant(values)}))
        assert metrics["broken_environment"] == 1.0
        for weight, value in zip(values_of(trainer.weights), before, strict=True):
            np.testing.assert_array_equal(weight, value)
        assert np.isfinite(carry[0]).all()
        carry, metrics = learn(trainer, rows, carry)
        assert np.isfinite(list(metrics.values())).all()
        assert metrics["broken_environment"] == 0.0
