"""Categorical distributions against frequencies, and the identities of the softmax."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from kpg.distributions import for_space
from kpg.distributions.family import FORBIDDEN

FAMILY = for_space(gym.spaces.Discrete(4))
LOGITS = tf.constant([0.3, -1.0, 2.0, 0.0])


@pytest.mark.parametrize("source", ["family", "tfp"])
def test_frequencies(source: str) -> None:
    count, seed = 40_000, tf.constant([3, 4])
    logits = tf.constant([0.0, 1.0, -1.0, -np.inf])
    if source == "family":
        actions = FAMILY.sample(tf.tile(logits[tf.newaxis], [count, 1]), seed)
    else:
        actions = FAMILY.distribution(logits).sample(count, seed=seed)
    expected = tf.nn.softmax(logits).numpy()
    frequencies = np.bincount(actions, minlength=4) / count
    errors = np.sqrt(expected * (1 - expected) / count)
    assert np.all(np.abs(frequencies - expected) <= 4 * errors)
    assert frequencies[3] == 0


@pytest.mark.parametrize("count", [600, 625])
def test_frequencies_of_many_choices(count: int) -> None:
    family = for_space(gym.spaces.Discrete(count))
    logits = np.random.default_rng(0).normal(0.0, 2.0, count).astype(np.float32)
    logits[:100], logits[101:140:2] = FORBIDDEN, -np.inf
    draws = 100_000
    drawn = family.sample(tf.tile(logits[np.newaxis], [draws, 1]), tf.constant([3, 4]))
    assert drawn.dtype == tf.int32
    expected = draws * tf.nn.softmax(logits).numpy()
    counts = np.bincount(drawn, minlength=count)
    assert not counts[expected == 0.0].any()
    possible = expected > 0.0
    terms = (counts - expected)[possible] ** 2 / expected[possible]
    degrees = possible.sum() - 1
    assert abs(terms.sum() - degrees) < 5.0 * np.sqrt(2.0 * degrees) + terms.max()


def test_many_choices_keep_their_axes() -> None:
    family = for_space(gym.spaces.Discrete(600))
    logits = np.full([2, 3, 600], -50.0, np.float32)
    where = np.array([[0, 24, 25], [599, 300, 575]])
    np.put_along_axis(logits, where[..., np.newaxis], 50.0, axis=-1)
    drawn = family.sample(tf.constant(logits), tf.constant([1, 2]))
    np.testing.assert_array_equal(drawn, where)


def test_entropy_gradient() -> None:
    """∂H/∂logits = −p(log p + H)."""
    with tf.GradientTape() as tape:
        tape.watch(LOGITS)
        entropy = FAMILY.entropy(LOGITS)
    probs = tf.nn.softmax(LOGITS)
    expected = -probs * (tf.math.log(probs) + entropy)
    np.testing.assert_allclose(tape.gradient(entropy, LOGITS), expected, atol=1e-6)


def test_hessian_of_kl_is_the_fisher_information() -> None:
    """Both are diag(p) − ppᵀ at the point where the two distributions are the same."""
    actions = tf.range(4)
    with tf.GradientTape() as second, tf.GradientTape(persistent=True) as first:
        second.watch(LOGITS)
        first.watch(LOGITS)
        log_probs = FAMILY.log_prob(tf.tile(LOGITS[tf.newaxis], [4, 1]), actions)
        probs = tf.stop_gradient(tf.exp(log_probs))
        kl = tf.reduce_sum(probs * (tf.stop_gradient(log_probs) - log_probs))
        slope = first.gradient(kl, LOGITS)
    hessian = second.jacobian(slope, LOGITS)
    scores = first.jacobian(log_probs, LOGITS)
    fisher = tf.einsum("a,ai,aj->ij", probs, scores, scores)
    weights = tf.nn.softmax(LOGITS).numpy()
    expected = np.diag(weights) - np.outer(weights, weights)
    np.testing.assert_allclose(hessian, expected, atol=1e-6)
    np.testing.assert_allclose(fisher, expected, atol=1e-6)


def test_impossible_actions_make_no_nan() -> None:
    logits = tf.Variable([0.0, 1.0, -1e9, -1e30])
    with tf.GradientTape() as tape:
        total = FAMILY.entropy(logits) + FAMILY.log_prob(logits, 1)
    assert np.isfinite(total.numpy())
    assert np.isfinite(tape.gradient(total, logits).numpy()).all()


def test_the_environment_counts_from_start() -> None:
    shifted = gym.spaces.Discrete(3, start=-1)
    actions = for_space(shifted).to_environment(tf.constant([0, 2]))
    np.testing.assert_array_equal(actions, [-1, 1])
    assert actions.dtype == shifted.dtype
