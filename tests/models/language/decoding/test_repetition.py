"""Prices of repetition: against loops over tokens."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kpg.models.language.decoding.repetition import penalized, seen_until


def test_seen_tokens_are_lowered_whatever_their_sign() -> None:
    logits = np.array([2.0, -2.0, 3.0, 0.0], np.float32)
    seen = np.array([True, True, False, True])
    found = penalized(tf.constant(logits), tf.constant(seen), 1.25)
    want = [2.0 / 1.25, -2.0 * 1.25, 3.0, 0.0]
    np.testing.assert_allclose(found, want, atol=1e-6)


def test_what_was_seen_is_what_a_loop_finds() -> None:
    random, size = np.random.default_rng(0), 7
    texts = random.integers(0, size, [5, 9]).astype(np.int32)
    lengths = np.sort(random.integers(0, 10, [4, 5]), axis=0).astype(np.int32)
    padded = np.where(np.arange(9) < lengths[-1][:, np.newaxis], texts, 0)
    found = seen_until(tf.constant(padded), tf.constant(lengths), size).numpy()
    for step, row in np.ndindex(4, 5):
        want = np.isin(np.arange(size), texts[row, : lengths[step, row]])
        np.testing.assert_array_equal(found[step, row], want)
