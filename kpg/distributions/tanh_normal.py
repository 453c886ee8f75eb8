"""Normal distributions squashed into a `Box` by the hyperbolic tangent."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg.distributions.box import extent
from kpg.distributions.normal import NormalFamily
from kpg.graph import probability as tfp

# Equal steps over ±6 standard deviations: for σ = 3 the error is 1e-4 nats, and 3e-3
# with Gauss-Hermite nodes, whose outer ones are too far apart.
_NODES = np.linspace(-6.0, 6.0, 32, dtype=np.float32)
_WEIGHTS = np.exp(-0.5 * _NODES**2) / np.exp(-0.5 * _NODES**2).sum()


class TanhNormalFamily(NormalFamily):
    """Normal distributions squashed by a hyperbolic tangent scaled to the bounds.

    With a raw action u ~ N(μ, σ²), the environment receives
    a = low + (high − low) (1 + tanh u) / 2, and the log-probability of a is that of u
    minus log(da/du), where log(1 − tanh² u) = 2 (log 2 − u − softplus(−2u)) stays
    finite. Parameters are the means μ, then log σ. The mode is tanh μ, the median of
    a: a wide distribution is most dense at a bound.

    Reference: Haarnoja et al. (2018), https://arxiv.org/abs/1801.01290, appendix C.

    Args:
        action_space: A Gymnasium `Box` of floats with finite bounds, low < high; others
            are refused with a `ValueError`.
        state_dependent_std: See `kpg.distributions.Normal`.
        log_std_init: The same.
    """

    def __init__(
        self,
        action_space: gym.spaces.Box,
        state_dependent_std: bool = False,
        log_std_init: float = 0.0,
    ) -> None:
        low, width = extent(action_space)
        self._low, self._width = low.astype(np.float32), width.astype(np.float32)
        self._log_two_widths = np.log(2.0 * width).astype(np.float32)
        super().__init__(action_space, state_dependent_std, log_std_init)

    def _log_slopes(self, raw: tf.Tensor) -> tf.Tensor:
        """Returns log(da/du) for each number of raw actions `[..., *shape]`."""
        return self._log_two_widths - 2.0 * (raw + tf.nn.softplus(-2.0 * raw))

    @override
    def distribution(self, parameters: tf.Tensor) -> tfp.distributions.Distribution:
        """Returns TFP's distribution; an event is an action of the environment."""
        bijectors, half = tfp.bijectors, 0.5 * self._width
        scale = [bijectors.Shift(self._low + half), bijectors.Scale(half)]
        return tfp.distributions.TransformedDistribution(
            super().distribution(parameters),
            bijectors.Chain([*scale, bijectors.Tanh()]),
        )

    @override
    def log_prob(self, parameters: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        """Returns the log-density of the environment's action."""
        slopes = self.total(self._log_slopes(raw))
        return super().log_prob(parameters, raw) - slopes

    @override
    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        """Returns the entropy of the normal distribution plus E[log(da/du)].

        The error in nats is below 1e-6 for σ ≤ 1.5, 2e-4 for σ ≤ 3 and 5e-3 for σ ≤ 5.
        """
        loc, log_scale = self.halves(parameters)
        scale = tf.exp(log_scale)
        raw = loc + scale * tf.reshape(_NODES, [-1] + [1] * loc.shape.rank)
        expected = tf.tensordot(_WEIGHTS, self._log_slopes(raw), 1)
        return super().entropy(parameters) + self.total(expected)

    @override
    def to_environment(self, raw: tf.Tensor) -> tf.Tensor:
        return self.clip(self._low + self._width * tf.sigmoid(2.0 * raw))
