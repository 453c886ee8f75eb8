"""Texts as character ids, inside a graph, so that clients send texts as they are."""

from __future__ import annotations

import gymnasium as gym
import tensorflow as tf


def encode(texts: tf.Tensor, space: gym.spaces.Text, name: str) -> tf.Tensor:
    """Encodes `[B]` UTF-8 strings of the input `name` as `[B, max_length]` int32."""
    length = space.max_length
    known = tf.constant(sorted(map(ord, space.character_set)), tf.int32)
    codes = tf.strings.unicode_decode(texts, "UTF-8", errors="strict")
    _require(
        codes.row_lengths() <= length,
        f"A text in {name} must have at most {length} characters",
    )
    positions = tf.searchsorted(known, codes.values)
    # Characters beyond the last known one are placed behind it.
    nearest = tf.gather(known, tf.minimum(positions, tf.size(known) - 1))
    _require(
        nearest == codes.values,
        f"A text in {name} must be made of the characters of its space",
    )
    return codes.with_values(positions + 1).to_tensor(shape=[None, length])


def _require(conditions: tf.Tensor, text: str) -> None:
    tf.debugging.Assert(tf.reduce_all(conditions), [text])
