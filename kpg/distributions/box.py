"""What the families over a `Box` have in common."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg.distributions.family import Family, event_sum, legal_choices
from kpg.types import Array


class BoxFamily(Family):
    """Independent distributions with two parameters for each number of a `Box`.

    Args:
        action_space: A Gymnasium `Box` of floating-point numbers.
        constants: See `Family`: all first parameters, then all second ones.
    """

    action_space: gym.spaces.Box

    def __init__(self, action_space: gym.spaces.Box, constants: Array) -> None:
        raw_spec = tf.TensorSpec(action_space.shape, tf.float32)
        super().__init__(action_space, raw_spec, constants, num_choices=0)

    @override
    def masked(self, parameters: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        return legal_choices(self, parameters, mask)  # refuses: there are no choices

    def halves(self, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the first and the second parameters, `[..., *shape]` each."""
        event = self.action_space.shape
        first, second = tf.split(parameters, 2, axis=-1)
        if len(event) != 1:
            shape = tf.concat([tf.shape(parameters)[:-1], event], axis=0)
            static = [*parameters.shape[:-1], *event]
            first = tf.ensure_shape(tf.reshape(first, shape), static)
            second = tf.ensure_shape(tf.reshape(second, shape), static)
        return first, second

    def total(self, values: tf.Tensor) -> tf.Tensor:
        """Sums `[..., *shape]` over the numbers of an action."""
        return event_sum(values, self.action_space)

    def clip(self, actions: tf.Tensor) -> tf.Tensor:
        """Returns members of the space: rounding must not leave its bounds."""
        space = self.action_space
        return tf.clip_by_value(tf.cast(actions, space.dtype), space.low, space.high)


def own_unit(space: gym.spaces.Box) -> tuple[Array, Array] | None:
    """Returns the centres and half-widths of a `Box`: 0 and 1 where it has no bounds.

    About the largest number of a dtype is no bound. `None` says that all are 0 and 1.
    """
    kinds: list[Any] = [space.dtype, np.float32]
    most = 0.99 * min(float(np.finfo(kind).max) for kind in kinds)
    bounded = (space.low > -most) & (space.high < most)
    low = np.where(bounded, space.low, -1.0).astype(np.float64)
    high = np.where(bounded, space.high, 1.0).astype(np.float64)
    center, half_width = (low + high) / 2.0, (high - low) / 2.0
    if (center == 0.0).all() and (half_width == 1.0).all():
        return None
    dtype = np.result_type(space.dtype, np.float32)
    return center.astype(dtype), half_width.astype(dtype)


def extent(space: gym.spaces.Box) -> tuple[Array, Array]:
    """Returns the lower bounds of a bounded `Box` and its widths, in float64."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    if not space.is_bounded() or np.any(low >= high):
        raise ValueError(
            "A tanh-normal or beta distribution needs a Box with finite bounds, each "
            "lower one below the upper one; use distribution='normal' or wrap the "
            f"environment, as with gymnasium.wrappers.RescaleAction. Received: {space}"
        )
    return low, high - low
