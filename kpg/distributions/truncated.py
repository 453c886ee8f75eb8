"""Categorical distributions cut down to their most likely choices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf

from kpg.distributions.categorical import CategoricalFamily
from kpg.distributions.family import FORBIDDEN, Family
from kpg.graph import probability as tfp


class TruncatedFamily(Family):
    """A categorical distribution of which only the likely choices are left.

    First the `top_k` most likely choices are kept, then of these the fewest whose
    probability is at least `top_p`; equally likely choices are kept or cut together.
    Every method is about what is left, renormalised: `log_prob` is that of the
    distribution which `sample` draws from.

    An action that was drawn from an earlier distribution may be cut from this one. For
    its own log-probability it then counts as kept: a ratio of the two stays finite, and
    a gradient can bring the action back.

    Reference: Fan et al. (2018), https://arxiv.org/abs/1805.04833, for top-k; Holtzman
    et al. (2020), https://arxiv.org/abs/1904.09751, for top-p.

    Args:
        action_space: A Gymnasium `Discrete`.
        top_k: Choices to keep, ≥ 1. Defaults to all.
        top_p: Probability to keep, in (0, 1]. Defaults to all.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        action_space: gym.spaces.Discrete,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> None:
        if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
            raise ValueError(
                f"`top_k` must be None or at least 1. Received: top_k={top_k!r}"
            )
        if top_p is not None and not 0.0 < top_p <= 1.0:
            raise ValueError(
                f"`top_p` must be None or in (0, 1]. Received: top_p={top_p!r}"
            )
        count = int(action_space.n)
        constants = np.full([count], np.nan, np.float32)
        super().__init__(action_space, tf.TensorSpec([], tf.int32), constants, count)
        self.whole = CategoricalFamily(action_space)
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
        """Forbids what is not kept, but for the actions `raw`."""
        kept = self.kept(parameters)
        if raw is not None:
            kept |= tf.one_hot(raw, self.num_choices, True, False)
        return tf.where(kept, parameters, FORBIDDEN)

    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """See `Family.named_parameters`: `logits` `[..., n]`, cut."""
        return self.whole.named_parameters(self._cut(parameters))

    def distribution(self, parameters: tf.Tensor) -> tfp.distributions.Distribution:
        """See `Family.distribution`."""
        return self.whole.distribution(self._cut(parameters))

    def masked(self, parameters: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """See `Family.masked`."""
        return self.whole.masked(parameters, mask)

    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """See `Family.sample`."""
        return self.whole.sample(self._cut(parameters), seed)

    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """See `Family.mode`, which no cut removes."""
        return self.whole.mode(parameters)

    def log_prob(self, parameters: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        """See `Family.log_prob`."""
        return self.whole.log_prob(self._cut(parameters, raw), raw)

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        """See `Family.entropy`."""
        return self.whole.entropy(self._cut(parameters))

    def to_environment(self, raw: tf.Tensor) -> Any:
        """See `Family.to_environment`."""
        return self.whole.to_environment(raw)


def most_likely(probs: tf.Tensor, enough: Callable[[tf.Tensor], tf.Tensor]) -> Any:
    """Returns the fewest most likely choices that are enough.

    They are those of at least some probability. Floats that are not negative have the
    order of their bits, so 31 halvings find it exactly, and nothing is sorted, which
    XLA does slowly on a CPU.

    Args:
        probs: `[..., n]` float32, not negative.
        enough: Says `[..., 1]` whether the choices `[..., n]` bool suffice; more of
            them must do so, too.

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


def _sum(terms: Any, mask: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.where(mask, terms, 0.0), axis=-1, keepdims=True)
