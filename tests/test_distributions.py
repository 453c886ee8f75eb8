"""Families of distributions against TFP, quadrature and sampled frequencies."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from kpg.distributions import Family, for_space

DISCRETE = gym.spaces.Discrete(4)
BOX = gym.spaces.Box(-1.0, 1.0, (2, 3))
SPACES: list[gym.Space[Any]] = [DISCRETE, BOX, gym.spaces.Box(-1.0, 1.0, ())]


def parameters(family: Family, *shape: int) -> tf.Tensor:
    numbers = np.random.default_rng(0).normal(size=(*shape, *family.parameters_shape))
    return tf.constant(numbers, tf.float32)


@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("batch", [(5,), (7, 5)])
def test_equals_tfp(space: gym.Space[Any], batch: tuple[int, ...]) -> None:
    family = for_space(space)
    numbers = parameters(family, *batch)
    actions = family.sample(numbers, tf.constant([1, 2]))
    oracle = family.distribution(numbers)
    assert actions.shape == (*batch, *family.raw_spec.shape)
    assert actions.dtype == family.raw_spec.dtype
    assert oracle.batch_shape == batch
    assert oracle.event_shape == family.raw_spec.shape
    log_probs = family.log_prob(numbers, actions)
    assert log_probs.shape == batch  # summed over the dimensions of an action
    np.testing.assert_allclose(log_probs, oracle.log_prob(actions), atol=1e-5)
    np.testing.assert_allclose(family.entropy(numbers), oracle.entropy(), atol=1e-5)
    np.testing.assert_allclose(family.mode(numbers), oracle.mode())
    for name, value in family.named_parameters(numbers).items():
        inner = getattr(oracle, "distribution", oracle)
        np.testing.assert_allclose(value, inner.parameters[name], atol=1e-6)


@pytest.mark.parametrize("source", ["family", "tfp"])
def test_categorical_frequencies(source: str) -> None:
    family, count = for_space(DISCRETE), 40_000
    logits = tf.constant([0.0, 1.0, -1.0, -np.inf])
    rows = tf.tile(logits[tf.newaxis], [count, 1])
    seed = tf.constant([3, 4])
    if source == "family":
        actions = family.sample(rows, seed)
    else:
        actions = family.distribution(logits).sample(count, seed=seed)
    expected = tf.nn.softmax(logits).numpy()
    frequencies = np.bincount(actions, minlength=4) / count
    errors = np.sqrt(expected * (1 - expected) / count)
    assert np.all(np.abs(frequencies - expected) <= 4 * errors)
    assert frequencies[3] == 0


def test_normal_moments_and_density() -> None:
    family, count = for_space(gym.spaces.Box(-9, 9, (1,))), 40_000
    numbers = tf.tile([[0.5, np.log(2.0)]], [count, 1])
    actions = family.sample(tf.cast(numbers, tf.float32), tf.constant([5, 6])).numpy()
    assert abs(actions.mean() - 0.5) < 4 * 2.0 / np.sqrt(count)
    assert abs(actions.std() - 2.0) < 4 * 2.0 / np.sqrt(2 * count)
    grid = np.linspace(-20, 20, 20_001)[:, np.newaxis]
    row = tf.constant([[0.5, np.log(2.0)]], tf.float32)
    rows = tf.tile(row, [len(grid), 1])
    log_probs = family.log_prob(rows, grid.astype("float32")).numpy()
    densities = np.exp(log_probs.astype("float64"))
    step = 40 / 20_000
    assert densities.sum() * step == pytest.approx(1.0, abs=1e-4)
    entropy = -(densities * log_probs).sum() * step
    assert float(family.entropy(row)[0]) == pytest.approx(entropy, abs=1e-3)


def test_entropy_gradient() -> None:
    """∂H/∂logits = −p(log p + H)."""
    family = for_space(DISCRETE)
    logits = tf.Variable([0.3, -1.0, 2.0, 0.0])
    with tf.GradientTape() as tape:
        entropy = family.entropy(logits)
    probs = tf.nn.softmax(logits)
    expected = -probs * (tf.math.log(probs) + entropy)
    np.testing.assert_allclose(tape.gradient(entropy, logits), expected, atol=1e-6)


def test_impossible_actions_make_no_nan() -> None:
    family = for_space(DISCRETE)
    logits = tf.Variable([0.0, 1.0, -1e9, -1e30])
    with tf.GradientTape() as tape:
        total = family.entropy(logits) + family.log_prob(logits, 1)
    assert np.isfinite(total.numpy())
    assert np.isfinite(tape.gradient(total, logits).numpy()).all()


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_xla_compiles_every_operation(space: gym.Space[Any]) -> None:
    family = for_space(space)
    numbers = parameters(family, 6)

    @tf.function(jit_compile=True, autograph=False)
    def everything(numbers: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        actions = family.sample(numbers, seed)
        drawn = family.distribution(numbers).sample(seed=seed)
        return actions, family.log_prob(numbers, actions), drawn

    seed = tf.constant([7, 8])
    actions, log_probs, drawn = everything(numbers, seed)
    np.testing.assert_allclose(actions, family.sample(numbers, seed), atol=1e-5)
    np.testing.assert_allclose(log_probs, family.log_prob(numbers, actions), atol=1e-5)
    assert drawn.shape == actions.shape


def test_seeds_decide() -> None:
    family = for_space(BOX)
    numbers = parameters(family, 6)
    first, again, other = (
        family.sample(numbers, tf.constant(seed)).numpy()
        for seed in ([1, 2], [1, 2], [1, 3])
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_actions_are_made_members_of_the_space() -> None:
    shifted = gym.spaces.Discrete(3, start=-1)
    action = for_space(shifted).to_environment(tf.constant(0)).numpy()
    assert action == -1 and shifted.contains(action)
    box = gym.spaces.Box(np.array([-1.0, 0.0]), np.array([1.0, 0.5]), dtype=np.float64)
    clipped = for_space(box).to_environment(tf.constant([-3.0, 3.0])).numpy()
    np.testing.assert_array_equal(clipped, [-1.0, 0.5])
    assert box.contains(clipped)


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.MultiDiscrete([2, 3]),
        gym.spaces.Box(0, 255, (2,), np.uint8),
        gym.spaces.Text(3),
    ],
    ids=str,
)
def test_refuses_other_spaces(space: gym.Space[Any]) -> None:
    with pytest.raises(ValueError, match=r"single_action_space.*Received: "):
        for_space(space)
