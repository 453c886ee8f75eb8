"""Distributions over the choices of a `Discrete` space."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import gymnasium as gym
import tensorflow as tf
from typing_extensions import override

from kpg.distributions.family import Family, forbid, learned, legal_choices
from kpg.graph import probability as tfp
from kpg.graph import random

if TYPE_CHECKING:
    from tensorflow_probability.distributions import Distribution


def gumbel(shape: random.Shape, seed: tf.Tensor) -> tf.Tensor:
    """Draws finite float32 Gumbel noise, `-log(-log u)`, from a stateless seed."""
    return -tf.math.log(-tf.math.log(random.uniform(shape, seed)))


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


def entropies(logits: tf.Tensor) -> tf.Tensor:
    """Returns `−Σ p log p` over the last axis, with `0 log 0 = 0`, in nats."""
    log_probs = tf.nn.log_softmax(logits)
    probs = tf.exp(log_probs)
    return -tf.reduce_sum(tf.math.multiply_no_nan(log_probs, probs), axis=-1)


class CategoricalFamily(Family):
    """One categorical distribution for a `Discrete` space; parameters are logits.

    A raw action is an int32 that counts from 0; the environment gets `start` added.
    """

    action_space: gym.spaces.Discrete

    def __init__(self, action_space: gym.spaces.Discrete) -> None:
        count = int(action_space.n)
        spec = tf.TensorSpec([], tf.int32)
        super().__init__(action_space, spec, learned(count), count)

    @override
    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns `logits` `[..., n]`."""
        return {"logits": parameters}

    @override
    def distribution(self, parameters: tf.Tensor) -> tfp.distributions.Distribution:
        return by_argmax()(logits=parameters, dtype=tf.int32)

    @override
    def masked(self, parameters: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        legal = legal_choices(self, parameters, mask)
        return forbid(parameters, legal, tf.reduce_any(legal, axis=-1, keepdims=True))

    @override
    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        noise = gumbel(tf.shape(parameters), seed)
        return tf.argmax(parameters + noise, axis=-1, output_type=tf.int32)

    @override
    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """Returns the most likely action; of equally likely ones, the first."""
        return tf.argmax(parameters, axis=-1, output_type=tf.int32)

    @override
    def log_prob(self, parameters: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        return -tf.nn.sparse_softmax_cross_entropy_with_logits(raw, parameters)

    @override
    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        return entropies(parameters)

    @override
    def to_environment(self, raw: tf.Tensor) -> tf.Tensor:
        start = int(self.action_space.start)
        return tf.cast(raw, self.action_space.dtype) + start
