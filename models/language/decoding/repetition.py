"""A price for tokens that a text has already, in sampling and in learning alike."""

from __future__ import annotations

import tensorflow as tf

from kpg.models.language.decoding.tables import sizes
from kpg.types import Tensor

_NEVER = 2**30


def penalized(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Returns logits `[..., V]` with those of `seen` tokens, `[..., V]` bool, lowered.

    Positive logits are divided by the penalty and others multiplied, so that a penalty
    above 1 makes a token less likely whatever its sign.

    Reference: Keskar et al., "CTRL: a conditional transformer language model for
    controllable generation" (2019), section 4.1, https://arxiv.org/abs/1909.05858,
    which divides all logits; a division raises those below 0.
    """
    lowered = tf.where(logits > 0.0, logits / penalty, logits * penalty)
    return tf.where(seen, lowered, logits)


def first_places(texts: Tensor, lengths: Tensor, vocabulary_size: int) -> Tensor:
    """Returns where each token first stands in texts, `[B, V]` int32; 2³⁰ for never.

    Texts are `[B, L]` int32, padded on the right, of `[B]` tokens.
    """
    rows, room = sizes(texts)
    places = tf.broadcast_to(tf.range(room), [rows, room])
    places = tf.where(places < lengths[:, tf.newaxis], places, _NEVER)
    never = tf.fill([rows, vocabulary_size], _NEVER)
    numbers = tf.broadcast_to(tf.range(rows)[:, tf.newaxis], [rows, room])
    where = tf.stack([numbers, texts], axis=-1)
    return tf.tensor_scatter_nd_min(never, where, places)


def seen_until(texts: Tensor, lengths: Tensor, vocabulary_size: int) -> Tensor:
    """Returns `[T, B, V]` bool: which tokens the first `lengths`, `[T, B]`, have.

    Texts are `[B, L]` int32, padded behind the longest length of their row.
    """
    longest = tf.reduce_max(lengths, axis=0)
    first = first_places(texts, longest, vocabulary_size)
    return first < lengths[..., tf.newaxis]
