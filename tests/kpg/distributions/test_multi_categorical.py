"""Several categorical distributions against single ones and frequencies."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from kpg.distributions import for_space

S = gym.spaces
SEED = tf.constant([3, 4])
COUNTS: dict[str, tuple[gym.Space[Any], list[int]]] = {
    "unequal": (S.MultiDiscrete(np.array([[2, 3], [4, 2]])), [2, 3, 4, 2]),
    "equal": (S.MultiDiscrete([3, 3]), [3, 3]),
    "binary": (S.MultiBinary((2, 2)), [2, 2, 2, 2]),
    "one": (S.MultiBinary(1), [2]),
}
each = pytest.mark.parametrize("name", COUNTS)


def draw(size: int, *shape: int) -> tf.Tensor:
    numbers = np.random.default_rng(0).normal(size=(*shape, size))
    return tf.constant(numbers, tf.float32)


@each
def test_is_the_product_of_its_components(name: str) -> None:
    """Components in row-major order, and the parameters of each in one piece."""
    space, counts = COUNTS[name]
    family = for_space(space)
    assert family.num_choices == family.parameters_shape[0] == sum(counts)
    assert np.isnan(family.constants).all()
    parameters = draw(sum(counts), 7, 5)
    raw = family.sample(parameters, SEED)
    columns = tf.reshape(raw, [7, 5, len(counts)])
    modes = tf.reshape(family.mode(parameters), [7, 5, len(counts)])
    log_prob, entropy, first = 0.0, 0.0, 0
    for column, count in enumerate(counts):
        logits = parameters[..., first : first + count]
        single = for_space(S.Discrete(count))
        log_prob += single.log_prob(logits, columns[..., column])
        entropy += single.entropy(logits)
        np.testing.assert_array_equal(modes[..., column], single.mode(logits))
        first += count
    np.testing.assert_allclose(family.log_prob(parameters, raw), log_prob, atol=1e-5)
    np.testing.assert_allclose(family.entropy(parameters), entropy, atol=1e-5)


def test_frequencies_and_independence() -> None:
    """Of all the joint choices, so that components that move together are found."""
    count, family = 60_000, for_space(S.MultiDiscrete([2, 3]))
    logits = np.array([0.3, -0.5, 1.0, 0.0, -1.0], np.float32)
    raw = family.sample(tf.tile(logits[np.newaxis], [count, 1]), SEED).numpy()
    frequencies = np.bincount(raw[:, 0] * 3 + raw[:, 1], minlength=6) / count
    parts = tf.nn.softmax(logits[:2]).numpy(), tf.nn.softmax(logits[2:]).numpy()
    expected = np.outer(*parts).reshape(-1)
    errors = np.sqrt(expected * (1 - expected) / count)
    assert np.all(np.abs(frequencies - expected) <= 4 * errors)


def test_a_choice_that_a_component_lacks_is_never_drawn() -> None:
    family = for_space(S.MultiDiscrete([1, 5]))
    raw = family.sample(-30.0 + draw(6, 100_000), SEED).numpy()
    assert raw[:, 0].max() == 0
    assert set(np.unique(raw[:, 1])) == {0, 1, 2, 3, 4}


def test_the_environment_counts_from_start() -> None:
    space = S.MultiDiscrete([2, 3], start=[4, -1])
    actions = for_space(space).to_environment(tf.constant([[0, 0], [1, 2]]))
    np.testing.assert_array_equal(actions, [[4, -1], [5, 1]])
    assert actions.dtype == space.dtype
    binary = for_space(S.MultiBinary(2)).to_environment(tf.constant([0, 1]))
    assert binary.dtype == np.int8
