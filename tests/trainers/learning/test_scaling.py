"""Rewards and observations are brought to scale as NumPy would do it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.fragments import B, T, assert_weights, fragment, learn, values_of

Make = Callable[..., Any]


def actor_critic(make_trainer: Make, **options: Any) -> Any:
    return make_trainer(
        "ActorCritic",
        num_steps=6,
        gamma=0.9,
        max_grad_norm=None,
        optimizer=keras.optimizers.SGD(0.1),
        **options,
    )


def test_rewards_are_divided_by_the_deviation_of_the_return(make_trainer: Make) -> None:
    trainer = actor_critic(make_trainer, normalize_rewards=True)
    plain = actor_critic(make_trainer)
    rows = fragment(trainer.policy)
    totals, total = [], np.zeros(B)
    ended = (rows.terminated | rows.truncated).numpy()
    for reward, end in zip(rows.rewards.numpy(), ended, strict=True):
        total = 0.9 * total + reward
        totals.append(total)
        total = np.where(end, 0.0, total)
    (carried, _), _ = learn(trainer, rows)
    np.testing.assert_allclose(carried, total, rtol=1e-5)
    scaled = tf.constant(rows.rewards.numpy() / np.std(totals), tf.float32)
    learn(plain, rows._replace(rewards=scaled))
    assert_weights(trainer, values_of(plain.learned_variables()), atol=1e-5)
    again = actor_critic(make_trainer)
    learn(again, rows)
    pairs = zip(
        values_of(again.learned_variables()),
        values_of(plain.learned_variables()),
        strict=True,
    )
    assert max(np.abs(one - other).max() for one, other in pairs) > 1e-3


def test_returns_of_whole_episodes_begin_with_each_iteration(
    make_trainer: Make,
) -> None:
    """What follows an episode's end in its column is not learned from."""
    trainer = make_trainer("REINFORCE", num_steps=T, gamma=0.9, normalize_rewards=True)
    rows = fragment(trainer.policy, whole=True)
    carry, _ = learn(trainer, rows)
    assert np.abs(carry.returns).max() > 0.1
    learn(trainer, rows, carry)
    totals, valid = np.zeros((T, B)), rows.valid.numpy()
    for time, reward in enumerate(rows.rewards.numpy()):
        totals[time] = reward + (0.9 * totals[time - 1] if time else 0.0)
    moments = trainer.return_moments
    assert float(moments.count) == 2 * valid.sum()
    np.testing.assert_allclose(moments.mean, totals[valid].mean(), rtol=1e-4)
    np.testing.assert_allclose(moments.variance, totals[valid].var(), rtol=1e-4)


def test_observations_are_followed_after_the_updates(make_trainer: Make) -> None:
    trainer = actor_critic(make_trainer, normalize_observations=True)
    ((_, normalizer),) = trainer.policy.normalizers
    rows = fragment(trainer.policy, masked=True)
    learn(trainer, rows)
    seen = rows.observations.numpy()[rows.valid.numpy()]
    assert float(normalizer.count) == len(seen)
    np.testing.assert_allclose(normalizer.mean, seen.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(normalizer.variance, seen.var(axis=0), rtol=1e-4)
