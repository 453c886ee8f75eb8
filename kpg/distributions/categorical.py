"""Distributions over choices, and the one over a `Discrete` space."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import gymnasium as gym
import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg.distributions import portable
from kpg.distributions.family import (
    FORBIDDEN,
    Family,
    event_sum,
    learned,
    legal_choices,
)
from kpg.graph import probability as tfp
from kpg.graph import random
from kpg.types import Array, Space

if TYPE_CHECKING:
    from tensorflow_probability.distributions import Distribution

# Noise for each of fewer choices takes no time that can be measured.
MANY = 512


def gumbel(shape: random.Shape, seed: tf.Tensor) -> tf.Tensor:
    """Draws finite float32 Gumbel noise, `-log(-log u)`, from a stateless seed."""
    return -tf.math.log(-tf.math.log(random.uniform(shape, seed)))


def drawn_of_many(logits: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws a choice `[...]` int32 of n, by noise for 2 √n of them.

    First a block of neighbours is drawn, by the sum of their probabilities, then one of
    the block: the largest of log p + Gumbel noise each time, as among all n at once.

    Args:
        logits: `[..., n]` float32, n known.
        seed: A stateless seed, `[2]` int32.
    """
    count = int(logits.shape[-1])
    width = math.ceil(math.sqrt(count))
    blocks = -(-count // width)
    odds = tf.exp(logits - tf.reduce_max(logits, axis=-1, keepdims=True))
    shape, rank = tf.shape(logits)[:-1], len(logits.shape)

    def table(values: tf.Tensor, filler: float) -> tf.Tensor:
        behind = [[0, 0]] * (rank - 1) + [[0, blocks * width - count]]
        whole = tf.pad(values, behind, constant_values=filler)
        return tf.reshape(whole, tf.concat([shape, [blocks, width]], axis=0))

    noise = gumbel(tf.concat([shape, [blocks + width]], axis=0), seed)
    weights = tf.math.log(tf.reduce_sum(table(odds, 0.0), axis=-1))
    block = tf.argmax(weights + noise[..., :blocks], axis=-1, output_type=tf.int32)
    row = tf.gather(table(logits, -math.inf), block, batch_dims=rank - 1)
    place = tf.argmax(row + noise[..., blocks:], axis=-1, output_type=tf.int32)
    return block * width + place


@functools.cache
def by_argmax() -> type[Distribution]:
    """Returns `CategoricalByArgmax`, whose base class is imported on first use."""

    class CategoricalByArgmax(tfp.distributions.Categorical):
        """TFP's distribution, sampled by the argmax of logits plus Gumbel noise.

        XLA has no multinomial sampler on CPU. Reference: Maddison, Tarlow and Minka
        (2014), https://arxiv.org/abs/1411.0030.
        """

        def _sample_n(self, n: int, seed: tf.Tensor | int | None = None) -> tf.Tensor:
            logits = self.logits_parameter()
            seed = tfp.random.sanitize_seed(seed, salt="categorical")
            noise = gumbel(tf.concat([[n], tf.shape(logits)], axis=0), seed)
            return tf.argmax(logits + noise, axis=-1, output_type=self.dtype)

    return CategoricalByArgmax


class ChoicesFamily(Family):
    """One categorical distribution for each number of an action; parameters are logits.

    Raw actions are int32 and count from 0; the environment gets `start` added.
    """

    def __init__(self, action_space: Space, counts: Array) -> None:
        self._counts = counts
        total = int(counts.sum())
        spec = tf.TensorSpec(counts.shape, tf.int32)
        super().__init__(action_space, spec, learned(total), num_choices=total)

    def _table(self, values: tf.Tensor, filler: float | bool) -> tf.Tensor:
        """Arranges values of all choices as `[..., *shape, max(n)]`, with padding."""
        return values

    def _logits(self, parameters: tf.Tensor, raw: tf.Tensor | None = None) -> tf.Tensor:
        """Returns `[..., *shape, max(n)]`, as they are for the actions `raw`."""
        return self._table(parameters, FORBIDDEN)

    @override
    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns `logits` `[..., *shape, max(n)]`, padded with −1e9."""
        return {"logits": self._logits(parameters)}

    @override
    def distribution(self, parameters: tf.Tensor) -> tfp.distributions.Distribution:
        choices = by_argmax()(logits=self._logits(parameters), dtype=tf.int32)
        rank = self._counts.ndim
        return tfp.distributions.Independent(choices, rank) if rank else choices

    @override
    def masked(self, parameters: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        legal = legal_choices(self, parameters, mask)
        possible = tf.reduce_any(self._table(legal, False), axis=-1)
        possible = tf.reduce_all(possible, list(range(-self._counts.ndim, 0)))
        possible = possible[..., tf.newaxis]
        return tf.where(possible, tf.where(legal, parameters, FORBIDDEN), math.nan)

    @override
    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        logits = self._logits(parameters)
        if logits.shape[-1] is not None and logits.shape[-1] >= MANY:
            return drawn_of_many(logits, seed)
        noise = gumbel(tf.shape(logits), seed)
        return tf.argmax(logits + noise, axis=-1, output_type=tf.int32)

    @override
    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """Returns the most likely choices; of equally likely ones, the first."""
        return tf.argmax(self._logits(parameters), axis=-1, output_type=tf.int32)

    @override
    def log_prob(self, parameters: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        logits = self._logits(parameters, raw)
        return -event_sum(portable.cross_entropy(raw, logits), self.action_space)

    @override
    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        log_probs = tf.nn.log_softmax(self._logits(parameters))
        probs = tf.exp(log_probs)
        terms = tf.math.multiply_no_nan(log_probs, probs)  # 0 log 0 = 0
        return event_sum(-tf.reduce_sum(terms, axis=-1), self.action_space)

    @override
    def to_environment(self, raw: tf.Tensor) -> tf.Tensor:
        actions = tf.cast(raw, self.action_space.dtype)
        start = getattr(self.action_space, "start", None)  # a MultiBinary has none
        return actions if start is None else actions + start


class CategoricalFamily(ChoicesFamily):
    """One categorical distribution for a `Discrete` space; parameters are logits."""

    def __init__(self, action_space: gym.spaces.Discrete) -> None:
        super().__init__(action_space, np.asarray(action_space.n))
