"""Normal distributions over a `Box`, whose bounds are enforced by clipping."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg.distributions.box import BoxFamily, own_unit
from kpg.graph import probability as tfp
from kpg.graph import random

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class NormalFamily(BoxFamily):
    """Independent normal distributions for a `Box` space.

    Parameters are the means, then the logarithms of the standard deviations. Raw
    actions are not bounded and have the stated density; `to_environment` clips them.
    If `scaled`, they are in the Box's own unit where both bounds of a number are
    finite: the environment receives its centre + raw × its half-width.

    Reference: Schulman et al. (2017), https://arxiv.org/abs/1707.06347, section 6.1.

    Args:
        action_space: A Gymnasium `Box` of floating-point numbers.
        state_dependent_std: See `kpg.distributions.Normal`.
        log_std_init: The same.
        scaled: See there; defaults to `False` here, for classes derived from this one.
    """

    def __init__(
        self,
        action_space: gym.spaces.Box,
        state_dependent_std: bool = False,
        log_std_init: float = 0.0,
        scaled: bool = False,
    ) -> None:
        self._unit = own_unit(action_space) if scaled else None
        log_std = math.nan if state_dependent_std else log_std_init
        constants = np.array([math.nan, log_std], np.float32)
        super().__init__(action_space, constants.repeat(math.prod(action_space.shape)))

    @override
    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns `loc` and `scale`, `[..., *shape]` each."""
        loc, log_scale = self.halves(parameters)
        return {"loc": loc, "scale": tf.exp(log_scale)}

    @override
    def distribution(self, parameters: tf.Tensor) -> tfp.distributions.Distribution:
        normal = tfp.distributions.Normal(**self.named_parameters(parameters))
        return tfp.distributions.Independent(normal, len(self.action_space.shape))

    @override
    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        loc, log_scale = self.halves(parameters)
        noise = random.normal(tf.shape(loc), seed)
        return loc + tf.exp(log_scale) * noise

    @override
    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        return self.halves(parameters)[0]

    @override
    def log_prob(self, parameters: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        loc, log_scale = self.halves(parameters)
        scores = (raw - loc) * tf.exp(-log_scale)
        return self.total(-0.5 * tf.square(scores) - log_scale - _HALF_LOG_TWO_PI)

    @override
    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        """Returns `Σ (log σ + ½ log 2πe)`."""
        _, log_scale = self.halves(parameters)
        return self.total(log_scale + _HALF_LOG_TWO_PI + 0.5)

    @override
    def to_environment(self, raw: tf.Tensor) -> tf.Tensor:
        if self._unit is None:
            return self.clip(raw)
        center, half_width = self._unit
        return self.clip(tf.cast(raw, center.dtype) * half_width + center)
