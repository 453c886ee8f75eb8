"""Completions of a few prompts as a fragment that a language policy reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tests.texts import before_the_last, padded

PROMPTS = [[2, 3, 3], [4], [3, 2, 4, 4, 2], [2, 2]]
COMPLETIONS = [[3, 4, 2, 1], [2, 2, 2, 2], [4, 1, 3, 3], [1, 4, 4, 3]]


def rows() -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Returns observations `[T, B]` and the state before them."""
    first, state = before_the_last(*padded(PROMPTS))
    completions = np.array(COMPLETIONS, np.int32).T
    return np.concatenate([first[np.newaxis], completions[:-1]]), state


def unrolled(model: Any) -> tuple[tf.Tensor, Any]:
    observations, state = rows()
    resets = tf.zeros(observations.shape, tf.bool)
    result: tuple[tf.Tensor, Any] = model.unroll(observations, state, resets)
    return result
