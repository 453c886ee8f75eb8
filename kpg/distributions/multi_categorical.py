"""Distributions over the choices of a `MultiDiscrete` or `MultiBinary` space."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg.distributions.categorical import by_argmax, entropies, gumbel
from kpg.distributions.family import (
    FORBIDDEN,
    Family,
    event_sum,
    forbid,
    learned,
    legal_choices,
)
from kpg.graph import probability as tfp


class MultiCategoricalFamily(Family):
    """One categorical distribution for each component, independent of the others.

    Parameters and masks are those of the components in turn, `[..., Σ nvec]`; a
    component of a `MultiBinary` has the choices 0 and 1. A raw action is int32
    `[..., *shape]` and counts from 0; the environment gets `start` added.
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
        spec = tf.TensorSpec(counts.shape, tf.int32)
        super().__init__(action_space, spec, learned(total), num_choices=total)

    def _table(self, values: tf.Tensor, filler: float | bool) -> tf.Tensor:
        """Arranges `[..., Σ nvec]` as `[..., *shape, max(nvec)]`, with padding."""
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
        """Returns `[..., *shape, max(nvec)]`; the padding is forbidden."""
        return self._table(parameters, FORBIDDEN)

    @override
    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns `logits` `[..., *shape, max(nvec)]`, padded with −1e9."""
        return {"logits": self._logits(parameters)}

    @override
    def distribution(self, parameters: tf.Tensor) -> tfp.distributions.Distribution:
        choices = by_argmax()(logits=self._logits(parameters), dtype=tf.int32)
        return tfp.distributions.Independent(choices, self._counts.ndim)

    @override
    def masked(self, parameters: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        legal = legal_choices(self, parameters, mask)
        possible = tf.reduce_any(self._table(legal, False), axis=-1)
        axes = list(range(-self._counts.ndim, 0))
        possible = tf.reduce_all(possible, axes)[..., tf.newaxis]
        return forbid(parameters, legal, possible)

    @override
    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        logits = self._logits(parameters)
        noise = gumbel(tf.shape(logits), seed)
        return tf.argmax(logits + noise, axis=-1, output_type=tf.int32)

    @override
    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """Returns the most likely choices; of equally likely ones, the first."""
        return tf.argmax(self._logits(parameters), axis=-1, output_type=tf.int32)

    @override
    def log_prob(self, parameters: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        logits = self._logits(parameters)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(raw, logits)
        return -event_sum(losses, self.action_space)

    @override
    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        return event_sum(entropies(self._logits(parameters)), self.action_space)

    @override
    def to_environment(self, raw: tf.Tensor) -> tf.Tensor:
        actions = tf.cast(raw, self.action_space.dtype)
        if isinstance(self.action_space, gym.spaces.MultiDiscrete):
            return actions + self.action_space.start
        return actions
