"""Texts that a decoder reads token by token, and KerasHub as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

V, ROOM, STEPS = 11, 4, 5
LENGTHS = np.array([4, 1, 3], np.int32)


def read(decoder: Any, texts: np.ndarray) -> np.ndarray:
    """Returns features `[B, 1 + STEPS, F]` behind each token from the prompt's last."""
    lengths = tf.constant(LENGTHS)
    prompts = np.where(np.arange(ROOM) < LENGTHS[:, np.newaxis], texts[:, :ROOM], 0)
    features, cache = decoder.start(tf.constant(prompts), lengths, STEPS)
    rows = [features]
    for step in range(STEPS):
        fed = tf.constant(texts[np.arange(len(texts)), LENGTHS + step])
        features, cache = decoder.advance(fed, tf.constant(step), lengths, cache)
        rows.append(features)
    return np.stack(rows, axis=1)


def whole(model: Any, texts: np.ndarray) -> np.ndarray:
    """Returns KerasHub's logits at the same places, of one pass."""
    logits = model({"token_ids": texts, "padding_mask": np.ones_like(texts)}).numpy()
    places = LENGTHS[:, np.newaxis] - 1 + np.arange(1 + STEPS)
    return np.take_along_axis(logits, places[..., np.newaxis], axis=1)


def texts() -> np.ndarray:
    """Returns three texts of any tokens."""
    return np.random.default_rng(0).integers(V, size=[3, ROOM + STEPS], dtype=np.int32)
