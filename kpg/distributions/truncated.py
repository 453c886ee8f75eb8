"""Categorical distributions truncated to their most likely choices."""

from __future__ import annotations

import math
from collections.abc import Callable

import gymnasium as gym
import tensorflow as tf
from typing_extensions import override

from kpg import checks
from kpg.distributions.categorical import CategoricalFamily
from kpg.distributions.family import FORBIDDEN


class TruncatedFamily(CategoricalFamily):
    """A categorical distribution of which only the likely choices remain.

    First the `top_k` most likely choices are kept, then of these the fewest whose
    probability is at least `top_p`; equally likely choices are kept or cut together.
    Of what is left stay those with at least `min_p` times the highest probability.
    Every method is about what remains, renormalised. Only `log_prob` counts the action
    it is asked about as kept, so that ratios to an earlier policy stay finite and a
    gradient can bring the action back. Numbers out of range are a `ValueError`.

    Reference: Fan et al. (2018), https://arxiv.org/abs/1805.04833, for top-k; Holtzman
    et al. (2020), https://arxiv.org/abs/1904.09751, for top-p; Nguyen et al. (2024),
    https://arxiv.org/abs/2407.01082, for min-p.

    Args:
        action_space: A Gymnasium `Discrete`.
        top_k: Choices to keep, ≥ 1. Defaults to `None`, all.
        top_p: Probability to keep, in (0, 1]. Defaults to `None`, all.
        min_p: Share of the highest probability that a choice needs, in (0, 1].
            Defaults to `None`, none.
    """

    def __init__(
        self,
        action_space: gym.spaces.Discrete,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
    ) -> None:
        if top_k is not None:
            checks.whole_number("top_k", top_k)
        for name, share in (("top_p", top_p), ("min_p", min_p)):
            if share is not None and not 0.0 < share <= 1.0:
                checks.refuse(name, "must be None or in (0, 1]", share)
        super().__init__(action_space)
        self.top_k = top_k
        self.top_p = top_p
        self.min_p = min_p

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
        if self.min_p is not None:
            highest = tf.reduce_max(parameters, axis=-1, keepdims=True)
            kept &= parameters >= highest + math.log(self.min_p)
        return kept

    @override
    def _logits(self, parameters: tf.Tensor, raw: tf.Tensor | None = None) -> tf.Tensor:
        kept = self.kept(parameters)
        if raw is not None:
            kept |= tf.one_hot(raw, self.num_choices, True, False)
        return tf.where(kept, parameters, FORBIDDEN)


def most_likely(
    probs: tf.Tensor, enough: Callable[[tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """Returns the fewest likely choices `[..., n]` that are enough, or else all.

    Non-negative floats sort as their bits do: 31 halvings find the least probability of
    a choice exactly, without a sort, which XLA does slowly on a CPU. `enough` maps
    choices `[..., n]` to `[..., 1]` and must stay true with more of them.
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
