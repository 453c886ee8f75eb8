"""Distributions over the choices of a `MultiDiscrete` or `MultiBinary` space."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from kpg.distributions.categorical import CategoricalByArgmax, entropies, gumbel
from kpg.distributions.family import (
    FORBIDDEN,
    Family,
    event_sum,
    forbid,
    legal_choices,
)


class MultiCategoricalFamily(Family):
    """One categorical distribution for each component, independent of the others.

    Parameters, and so masks, are the logits of the first component, then those of the
    second one, and so on: `[..., Σ nvec]`. A component of a `MultiBinary` has two
    choices, 0 and 1. A raw action is int32 `[..., *shape]` and counts from 0; the
    space's `start` is added for the environment.

    Args:
        action_space: A Gymnasium `MultiDiscrete` or `MultiBinary` of any shape.
    """

    action_space: gym.spaces.MultiDiscrete | gym.spaces.MultiBinary

    def __init__(
        self, action_space: gym.spaces.MultiDiscrete | gym.spaces.MultiBinary
    ) -> None:
        if isinstance(action_space, gym.spaces.MultiDiscrete):
            counts = action_space.nvec
        else:
            counts = np.full(action_space.shape, 2)
        firsts = np.cumsum(counts).reshape(counts.shape) - counts
        choices = np.arange(counts.max())
        self._exists = choices < counts[..., np.newaxis]
        places = firsts[..., np.newaxis] + choices
        self._places = np.where(self._exists, places, 0).astype(np.int32)
        total = int(counts.sum())
        super().__init__(
            action_space,
            raw_spec=tf.TensorSpec(counts.shape, tf.int32),
            constants=np.full([total], np.nan, np.float32),
            num_choices=total,
        )

    def _table(self, parameters: tf.Tensor) -> tf.Tensor:
        """Returns logits `[..., *shape, max(nvec)]`; what is no choice is forbidden."""
        logits = tf.gather(parameters, self._places, axis=-1)
        return tf.where(self._exists, logits, FORBIDDEN)

    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """See `Family.named_parameters`: `logits` `[..., *shape, max(nvec)]`.

        The logit of what a component with fewer choices does not have is −1e9.
        """
        return {"logits": self._table(parameters)}

    def distribution(self, parameters: tf.Tensor) -> tfp.distributions.Distribution:
        """See `Family.distribution`."""
        choices = CategoricalByArgmax(logits=self._table(parameters), dtype=tf.int32)
        return tfp.distributions.Independent(choices, self.raw_spec.shape.rank)

    def masked(self, parameters: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """See `Family.masked`."""
        legal = legal_choices(self, parameters, mask)
        table = tf.gather(legal, self._places, axis=-1) & self._exists
        possible = tf.reduce_any(table, axis=-1)
        axes = list(range(-self.raw_spec.shape.rank, 0))
        possible = tf.reduce_all(possible, axes)[..., tf.newaxis]
        return forbid(parameters, legal, possible)

    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """See `Family.sample`."""
        logits = self._table(parameters)
        noise = gumbel(tf.shape(logits), seed)
        return tf.argmax(logits + noise, axis=-1, output_type=tf.int32)

    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """See `Family.mode`; of equally likely choices, the first."""
        return tf.argmax(self._table(parameters), axis=-1, output_type=tf.int32)

    def log_prob(self, parameters: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        """See `Family.log_prob`; independent components are summed."""
        logits = self._table(parameters)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(raw, logits)
        return -event_sum(losses, self.action_space)

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        """See `Family.entropy`; independent components are summed."""
        return event_sum(entropies(self._table(parameters)), self.action_space)

    def to_environment(self, raw: tf.Tensor) -> tf.Tensor:
        """See `Family.to_environment`: adds the space's `start`."""
        actions = tf.cast(raw, self.action_space.dtype)
        if isinstance(self.action_space, gym.spaces.MultiDiscrete):
            return actions + self.action_space.start
        return actions
