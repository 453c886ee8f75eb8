"""What a trunk reads, and what it must have."""

from __future__ import annotations

import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from kpg.models.language.causal_lm_trunk import LanguageTrunk
from kpg.models.language.text_trunk import TextTrunk
from kpg.types import Tensor
from tests.texts import gpt2, policy
from tests.unrolling import rows


def test_padding_is_never_read() -> None:
    made = policy("abc")
    observations, (tokens, lengths) = rows()
    resets = tf.zeros(observations.shape, tf.bool)
    known = np.arange(tokens.shape[1]) < lengths[:, np.newaxis]
    other = (np.where(known, tokens, 4), lengths)
    want, _ = made.unroll(observations, (tokens, lengths), resets)
    got, _ = made.unroll(observations, other, resets)
    np.testing.assert_array_equal(got, want)


def test_dropout_is_off() -> None:
    backbone = keras_nlp.models.GPT2Backbone(5, 1, 2, 8, 16, dropout=0.5)
    made = policy("abc", keras_nlp.models.GPT2CausalLM(backbone=backbone))
    observations, state = rows()
    resets = tf.zeros(observations.shape, tf.bool)
    once, _ = made.unroll(observations, state, resets, training=True)
    again, _ = made.unroll(observations, state, resets, training=True)
    np.testing.assert_array_equal(once, again)


def test_an_unfinished_trunk_is_refused() -> None:
    class Half(TextTrunk):
        argument = "lm"

        def project(self, features: Tensor) -> Tensor:
            return features

    with pytest.raises(
        TypeError, match="Half must define begin and behind and has_room"
    ):
        Half(gpt2(5))
    with pytest.raises(TypeError, match="Did you mean project.*Received: projects"):

        class Slip(LanguageTrunk):
            def projects(self, features: Tensor) -> Tensor:
                return features


def test_its_configuration_makes_it_again() -> None:
    trunk = LanguageTrunk(gpt2(5, num_layers=1))
    again = LanguageTrunk.from_config(trunk.get_config())
    assert [w.shape for w in again.weights] == [w.shape for w in trunk.weights]
    assert (again.vocabulary_size, again.width, again.max_tokens) == (5, 16, 24)
