"""Texts are encoded in a graph as they are encoded for training."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.export.writing import text_encoding

SPACE = gym.spaces.Text(5, charset="zaéß😀")


def encoded(texts: list[str]) -> tf.Tensor:
    function = tf.function(lambda values: text_encoding.encode(values, SPACE, "note"))
    return function(tf.constant([text.encode() for text in texts], tf.string))


@pytest.mark.parametrize("texts", [["aé", "", "😀ßzzz"], [""], []])
def test_as_for_training(texts: list[str]) -> None:
    found = encoded(texts)
    assert found.dtype == tf.int32
    np.testing.assert_array_equal(found, kpg.spaces.encode(SPACE, texts))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aaaaaa", "A text in note must have at most 5 characters"),
        ("ab", "A text in note must be made of the characters of its space"),
        ("\U0010ffff", "must be made of the characters"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        encoded(["a", text])
