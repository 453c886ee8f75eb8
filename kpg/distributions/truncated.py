"""Categorical distributions truncated to their most likely choices."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import tensorflow as tf
from typing_extensions import override

from kpg import checks
from kpg.distributions.categorical import CategoricalFamily
from kpg.distributions.family import FORBIDDEN
from kpg.graph import probability as tfp


class TruncatedFamily(CategoricalFamily):
    """A categorical distribution of which only the likely choices remain.

    First the `top_k` most likely choices are kept, then of these the fewest whose
    probability is at least `top_p`; equally likely choices are kept or cut together.
    Every method is about what remains, renormalised: `log_prob` is that of the
    distribution that `sample` draws from.

    An action that was drawn from an earlier distribution may be cut from this one. Its
    own log-probability then counts it as kept, so that the ratio of the two stays
    finite and a gradient can bring the action back.

    Reference: Fan et al. (2018), https://arxiv.org/abs/1805.04833, for top-k; Holtzman
    et al. (2020), https://arxiv.org/abs/1904.09751, for top-p.

    Args:
        action_space: A Gymnasium `Discrete`.
        top_k: Choices to keep, ≥ 1. Defaults to `None`, all.
        top_p: Probability to keep, in (0, 1]. Defaults to `None`, all.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        action_space: gym.spaces.Discrete,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> None:
        if top_k is not None:
            checks.whole_number("top_k", top_k)
        if top_p is not None and not 0.0 < top_p <= 1.0:
            checks.refuse("top_p", "must be None or in (0, 1]", top_p)
        super().__init__(action_space)
        self.top_k = top_k
        self.top_p = top_p

    def kept(self, parameters: tf.Tensor) -> tf.Tensor:
        """Returns `[..., n]` bool: the choices that are left of `[..., n]` logits."""
        probs = tf.nn.softmax(parameters)
        kept = tf.ones_like(probs, tf.bool)
        if self.top_k is not None:
            count = float(self.top_k)
            kept = most_likely(probs, lambda mask: _sum(1.0, mask) >= count)
        if self.top_p is not None:
            probs = tf.where(kept, probs, 0.0)
            wanted = self.top_p * tf.reduce_sum(probs, axis=-1, keepdims=True)
            kept &= most_likely(probs, lambda mask: _sum(probs, mask) >= wanted)
        return kept

    def _cut(self, parameters: tf.Tensor, raw: tf.Tensor | None = None) -> tf.Tensor:
        """Forbids what is not kept, except the actions `raw`."""
        kept = self.kept(parameters)
        if raw is not None:
            kept |= tf.one_hot(raw, self.num_choices, True, False)
        return tf.where(kept, parameters, FORBIDDEN)

    @override
    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns `logits` `[..., n]`, truncated."""
        return super().named_parameters(self._cut(parameters))

    @override
    def distribution(self, parameters: tf.Tensor) -> tfp.distributions.Distribution:
        return super().distribution(self._cut(parameters))

    @override
    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return super().sample(self._cut(parameters), seed)

    @override
    def log_prob(self, parameters: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        return super().log_prob(self._cut(parameters, raw), raw)

    @override
    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        return super().entropy(self._cut(parameters))


def most_likely(
    probs: tf.Tensor, enough: Callable[[tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """Returns the smallest set of most likely choices that is enough.

    They are the choices above some probability. Non-negative floats sort as their bits
    do, so 31 halvings find that probability exactly, and nothing is sorted, which XLA
    does slowly on a CPU.

    Args:
        probs: `[..., n]` float32, not negative.
        enough: Whether the choices `[..., n]` bool are enough, as `[..., 1]`; with more
            of them, they must still be.

    Returns:
        `[..., n]` bool; every choice if even all are not enough.
    """
    codes = tf.bitcast(probs, tf.int32)

    def halve(bit: tf.Tensor, least: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        higher = tf.bitwise.bitwise_or(least, tf.bitwise.left_shift(1, bit))
        return bit - 1, tf.where(enough(codes >= higher), higher, least)

    least = tf.zeros_like(codes[..., :1])
    _, least = tf.while_loop(lambda bit, _: bit >= 0, halve, (tf.constant(30), least))
    return codes >= least


def _sum(terms: tf.Tensor | float, mask: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.where(mask, terms, 0.0), axis=-1, keepdims=True)
