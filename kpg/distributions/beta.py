"""Beta distributions over a bounded `Box`."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg.distributions.box import BoxFamily, extent
from kpg.distributions.family import learned
from kpg.graph import probability as tfp
from kpg.graph import random

# The smallest and the largest float32 in (0, 1), where log x and log(1 − x) are finite.
_LEAST, _MOST = np.float32(np.finfo(np.float32).tiny), np.float32(1.0 - 2.0**-24)


class BetaFamily(BoxFamily):
    """Independent Beta distributions that are scaled to the bounds of a `Box`.

    A raw action x ~ Beta(α, β) lies in (0, 1); the environment receives
    low + (high − low) x, whose density `log_prob` is about. Parameters are inputs of
    α = 1 + softplus(·), then of β: no density has two peaks or an infinite one.

    Reference: Chou, Maturana and Scherer (2017),
    https://proceedings.mlr.press/v70/chou17a.html.

    Args:
        action_space: A Gymnasium `Box` of floats with finite bounds, low < high; others
            are refused with a `ValueError`.
    """

    def __init__(self, action_space: gym.spaces.Box) -> None:
        low, width = extent(action_space)
        self._low, self._width = low.astype(np.float32), width.astype(np.float32)
        self._log_volume = np.float32(np.log(width).sum())
        super().__init__(action_space, learned(2 * math.prod(action_space.shape)))

    def _excesses(self, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns α − 1 and β − 1, which keep more digits than α and β."""
        first, second = self.halves(parameters)
        return tf.nn.softplus(first), tf.nn.softplus(second)

    def _exact_excesses(self, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns them in float64: of large ones only differences of sums are left."""
        alpha, beta = self._excesses(parameters)
        return tf.cast(alpha, tf.float64), tf.cast(beta, tf.float64)

    @override
    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns `concentration1`, which is α, and `concentration0`, which is β."""
        alpha, beta = self._excesses(parameters)
        return {"concentration1": 1.0 + alpha, "concentration0": 1.0 + beta}

    @override
    def distribution(self, parameters: tf.Tensor) -> tfp.distributions.Distribution:
        """Returns TFP's distribution; an event is an action of the environment."""
        beta = tfp.distributions.Beta(**self.named_parameters(parameters))
        bijectors = tfp.bijectors
        return tfp.distributions.TransformedDistribution(
            tfp.distributions.Independent(beta, len(self.action_space.shape)),
            bijectors.Chain([bijectors.Shift(self._low), bijectors.Scale(self._width)]),
        )

    @override
    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Draws raw actions; no gradient flows through them."""
        alpha, beta = self._excesses(tf.stop_gradient(parameters))
        first, second = tf.unstack(_gamma(tf.stack([alpha, beta]) + 1.0, seed))
        return _inside(first / (first + second))

    @override
    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """Returns (α − 1) / (α + β − 2), and ½ for a uniform distribution."""
        alpha, beta = self._excesses(parameters)
        return _inside((alpha + _LEAST) / (alpha + beta + 2.0 * _LEAST))

    @override
    def log_prob(self, parameters: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        """Returns the log-density of the environment's action."""
        alpha, beta = self._exact_excesses(parameters)
        raw = tf.cast(raw, tf.float64)
        powers = alpha * tf.math.log(raw) + beta * tf.math.log1p(-raw)
        norms = tfp.math.lbeta(1.0 + alpha, 1.0 + beta)
        return tf.cast(self.total(powers - norms), tf.float32) - self._log_volume

    @override
    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        """Returns the entropy of the environment's action."""
        alpha, beta = self._exact_excesses(parameters)
        digamma = tf.math.digamma
        mean_powers = (
            alpha * digamma(1.0 + alpha)
            + beta * digamma(1.0 + beta)
            - (alpha + beta) * digamma(2.0 + alpha + beta)
        )
        norms = tfp.math.lbeta(1.0 + alpha, 1.0 + beta)
        return tf.cast(self.total(norms - mean_powers), tf.float32) + self._log_volume

    @override
    def to_environment(self, raw: tf.Tensor) -> tf.Tensor:
        return self.clip(self._low + self._width * raw)


def _inside(numbers: tf.Tensor) -> tf.Tensor:
    """Keeps numbers that were rounded to 0 or 1 inside the open interval."""
    return tf.clip_by_value(numbers, _LEAST, _MOST)


def _gamma(concentrations: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws from gamma distributions of rate 1 with concentrations ≥ 1.

    Marsaglia and Tsang (2000), https://doi.org/10.1145/358407.358414. NaN is accepted.
    """
    shape = tf.shape(concentrations)
    depths = concentrations - 1.0 / 3.0
    slopes = tf.math.rsqrt(9.0 * depths)

    def propose(
        rejected: tf.Tensor, cubes: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        noise_seed, level_seed, seed = tf.unstack(random.seeds([3], seed))
        noise = random.normal(shape, noise_seed)
        levels = tf.math.log(random.uniform(shape, level_seed))
        roots = 1.0 + slopes * noise
        cubes = tf.where(rejected, roots**3, cubes)
        bounds = 0.5 * noise**2 + depths * (1.0 - roots**3 + 3.0 * tf.math.log(roots))
        return rejected & ((roots <= 0.0) | (levels >= bounds)), cubes, seed

    start = (tf.ones(shape, tf.bool), tf.zeros_like(concentrations), seed)
    _, cubes, _ = tf.while_loop(
        lambda rejected, *_: tf.reduce_any(rejected), propose, start
    )
    return depths * cubes
