"""Distributions over the choices of a `MultiDiscrete` or `MultiBinary` space."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg.distributions.categorical import ChoicesFamily


class MultiCategoricalFamily(ChoicesFamily):
    """One categorical distribution for each component, independent of the others.

    Parameters and masks are those of the components in turn, `[..., Σ nvec]`; a
    component of a `MultiBinary` has the choices 0 and 1.
    """

    def __init__(
        self, action_space: gym.spaces.MultiDiscrete | gym.spaces.MultiBinary
    ) -> None:
        if isinstance(action_space, gym.spaces.MultiDiscrete):
            super().__init__(action_space, action_space.nvec)
        else:
            super().__init__(action_space, np.full(action_space.shape, 2))

    @override
    def _table(self, values: tf.Tensor, filler: float | bool) -> tf.Tensor:
        counts = [int(count) for count in self._counts.flat]
        most = max(counts)
        if min(counts) < most:  # slices, because XLA is slow to gather on a CPU
            still = [[0, 0]] * (values.shape.rank - 1)
            parts = tf.split(values, counts, axis=-1)
            padded = [
                tf.pad(part, [*still, [0, most - count]], constant_values=filler)
                for part, count in zip(parts, counts, strict=True)
            ]
            values = tf.concat(padded, axis=-1)
        event = [*self._counts.shape, most]
        table = tf.reshape(values, tf.concat([tf.shape(values)[:-1], event], axis=0))
        return tf.ensure_shape(table, [*values.shape[:-1], *event])
