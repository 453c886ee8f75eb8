"""Distributions over the choices of a `MultiDiscrete` or `MultiBinary` space."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf

from kpg.distributions.categorical import by_argmax, entropies, gumbel
from kpg.distributions.family import FORBIDDEN, Family, event_sum, forbid, legal_choices
from kpg.graph import probability as tfp


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
        self._counts = counts
        total = int(counts.sum())
        super().__init__(
            action_space,
            raw_spec=tf.TensorSpec(counts.shape, tf.int32),
            constants=np.full([total], np.nan, np.float32),
            num_choices=total,
        )

    def _table(self, values: tf.Tensor, filler: Any) -> tf.Tensor:
        """Arranges `[..., Σ nvec]` as `[..., *shape, max(nvec)]`, filled up."""
        counts = [int(count) for count in self._counts.flat]
        most = max(counts)
        if min(counts) < most:  # slices, because XLA is slow to gather on a CPU
            still = [[0, 0]] * (values.shape.rank - 1)
            values = tf.concat(
                [
                    tf.pad(part, [*still, [0, most - count]], constant_values=filler)
                    for part, count in zip(
                        tf.split(values, counts, axis=-1), counts, strict=True
                    )
                ],
                axis=-1,
            )
        event = [*self._counts.shape, most]
        table = tf.reshape(values, tf.concat([tf.shape(values)[:-1], event], axis=0))
        return tf.ensure_shape(table, [*values.shape[:-1], *event])

    def _logits(self, parameters: tf.Tensor) -> tf.Tensor:
        """Returns `[..., *shape, max(nvec)]`; what is no choice is forbidden."""
        return self._table(parameters, FORBIDDEN)

    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """See `Family.named_parameters`: `logits` `[..., *shape, max(nvec)]`.

        The logit of what a component with fewer choices does not have is −1e9.
        """
        return {"logits": self._logits(parameters)}

    def distribution(self, parameters: tf.Tensor) -> tfp.distributions.Distribution:
        """See `Family.distribution`."""
        choices = by_argmax(self._logits(parameters))
        return tfp.distributions.Independent(choices, self._counts.ndim)

    def masked(self, parameters: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """See `Family.masked`."""
        legal = legal_choices(self, parameters, mask)
        possible = tf.reduce_any(self._table(legal, False), axis=-1)
        axes = list(range(-self._counts.ndim, 0))
        possible = tf.reduce_all(possible, axes)[..., tf.newaxis]
        return forbid(parameters, legal, possible)

    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """See `Family.sample`."""
        logits = self._logits(parameters)
        noise = gumbel(tf.shape(logits), seed)
        return tf.argmax(logits + noise, axis=-1, output_type=tf.int32)

    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """See `Family.mode`; of equally likely choices, the first."""
        return tf.argmax(self._logits(parameters), axis=-1, output_type=tf.int32)

    def log_prob(self, parameters: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        """See `Family.log_prob`; independent components are summed."""
        logits = self._logits(parameters)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(raw, logits)
        return -event_sum(losses, self.action_space)

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        """See `Family.entropy`; independent components are summed."""
        return event_sum(entropies(self._logits(parameters)), self.action_space)

    def to_environment(self, raw: tf.Tensor) -> tf.Tensor:
        """See `Family.to_environment`: adds the space's `start`."""
        actions = tf.cast(raw, self.action_space.dtype)
        if isinstance(self.action_space, gym.spaces.MultiDiscrete):
            return actions + self.action_space.start
        return actions
