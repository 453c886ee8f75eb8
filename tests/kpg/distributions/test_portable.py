"""Log-probabilities that other runtimes can compute, too."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from kpg.distributions import portable
from kpg.distributions.construction import for_space

LOGITS = np.array([[0.5, -1.0, 2.0], [3.0, -1e9, 0.0], [80.0, -80.0, 0.0]], np.float32)
CHOICES = np.array([1, 2, 1], np.int32)


def by_hand() -> Any:
    exact = LOGITS.astype(np.float64)
    total = np.log(np.exp(exact - exact.max(1, keepdims=True)).sum(1)) + exact.max(1)
    return total - exact[np.arange(3), CHOICES]


@pytest.mark.parametrize("wanted", [True, False])
def test_cross_entropy(wanted: bool) -> None:
    if wanted:
        with portable.operations():
            found = portable.cross_entropy(tf.constant(CHOICES), tf.constant(LOGITS))
    else:
        found = portable.cross_entropy(tf.constant(CHOICES), tf.constant(LOGITS))
    np.testing.assert_allclose(found, by_hand(), rtol=1e-6)


def operations(space: gym.Space[int]) -> set[str]:
    family = for_space(space)
    parameters = tf.TensorSpec([None, *family.parameters_shape])
    raw = tf.TensorSpec([None, *family.raw_spec.shape], tf.int32)
    graph = tf.function(family.log_prob).get_concrete_function(parameters, raw).graph
    return {operation.type for operation in graph.get_operations()}


@pytest.mark.parametrize(
    "space", [gym.spaces.Discrete(3), gym.spaces.MultiDiscrete([2, 3])]
)
def test_only_what_asks_for_it_gets_it(space: gym.Space[int]) -> None:
    """Training keeps its operation, and with it the last bit of its numbers."""
    kept = "SparseSoftmaxCrossEntropyWithLogits"
    assert kept in operations(space)
    with portable.operations():
        assert kept not in operations(space)
    with pytest.raises(KeyError), portable.operations():
        raise KeyError
    assert kept in operations(space)
