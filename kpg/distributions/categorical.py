"""Distributions over the choices of a `Discrete` space."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf

from kpg.distributions.family import Family, forbid, legal_choices
from kpg.graph import probability as tfp
from kpg.graph import random


def gumbel(shape: Any, seed: tf.Tensor) -> tf.Tensor:
    """Draws standard Gumbel noise, `-log(-log u)`.

    Args:
        shape: Shape of the result.
        seed: `[2]` int32, a stateless seed.

    Returns:
        Finite float32 noise of that shape.
    """
    return -tf.math.log(-tf.math.log(random.uniform(shape, seed)))


def by_argmax(logits: tf.Tensor) -> tfp.distributions.Categorical:
    """Returns TFP's categorical distribution over the last axis of the logits."""
    from kpg.distributions.by_argmax import CategoricalByArgmax

    return CategoricalByArgmax(logits=logits, dtype=tf.int32)


def entropies(logits: tf.Tensor) -> tf.Tensor:
    """Returns `−Σ p log p` over the last axis, with `0 log 0 = 0`, in nats."""
    log_probs = tf.nn.log_softmax(logits)
    probs = tf.exp(log_probs)
    return -tf.reduce_sum(tf.math.multiply_no_nan(log_probs, probs), axis=-1)


class CategoricalFamily(Family):
    """One categorical distribution for a `Discrete` space; parameters are logits.

    A raw action is an int32 that counts from 0; the space's `start` is added for the
    environment.

    Args:
        action_space: A Gymnasium `Discrete`.
    """

    action_space: gym.spaces.Discrete

    def __init__(self, action_space: gym.spaces.Discrete) -> None:
        count = int(action_space.n)
        constants = np.full([count], np.nan, np.float32)
        super().__init__(action_space, tf.TensorSpec([], tf.int32), constants, count)

    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """See `Family.named_parameters`: `logits` `[..., n]`."""
        return {"logits": parameters}

    def distribution(self, parameters: tf.Tensor) -> tfp.distributions.Distribution:
        """See `Family.distribution`."""
        return by_argmax(parameters)

    def masked(self, parameters: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """See `Family.masked`."""
        legal = legal_choices(self, parameters, mask)
        return forbid(parameters, legal, tf.reduce_any(legal, axis=-1, keepdims=True))

    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """See `Family.sample`."""
        noise = gumbel(tf.shape(parameters), seed)
        return tf.argmax(parameters + noise, axis=-1, output_type=tf.int32)

    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """See `Family.mode`; of equally likely actions, the first."""
        return tf.argmax(parameters, axis=-1, output_type=tf.int32)

    def log_prob(self, parameters: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        """See `Family.log_prob`."""
        return -tf.nn.sparse_softmax_cross_entropy_with_logits(raw, parameters)

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        """See `Family.entropy`."""
        return entropies(parameters)

    def to_environment(self, raw: tf.Tensor) -> tf.Tensor:
        """See `Family.to_environment`: adds the space's `start`."""
        start = int(self.action_space.start)
        return tf.cast(raw, self.action_space.dtype) + start
