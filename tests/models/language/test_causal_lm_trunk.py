"""Prompt and completion as one text."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg.models import CausalLMPolicy
from kpg.models.language.causal_lm_trunk import LanguageTrunk
from tests.texts import Letters, gpt2, padded


def test_refuses_another_kind_of_model() -> None:
    with pytest.raises(ValueError, match="CausalLM of keras_nlp.*Sequential"):
        CausalLMPolicy(keras.Sequential(), Letters())


def test_the_last_token_of_a_prompt_is_observed_first() -> None:
    trunk = LanguageTrunk(gpt2(5, num_layers=1))
    first, (history, lengths) = trunk.begin(*padded([[2, 3, 4], [3]]))
    assert first.tolist() == [4, 3] and lengths.tolist() == [2, 0]
    np.testing.assert_array_equal(history, [[2, 3], [0, 0]])


def test_prompt_and_completion_share_the_room() -> None:
    trunk = LanguageTrunk(gpt2(5, num_layers=1))
    assert trunk.has_room(20, 4) and not trunk.has_room(20, 5)
    fits = trunk.has_room(tf.constant([20, 21]), tf.constant(4))
    np.testing.assert_array_equal(fits, [True, False])
    assert trunk.room == "Prompt and completion must have at most 24 tokens together"


def test_a_token_alone_is_read_like_the_first_of_two() -> None:
    trunk = LanguageTrunk(gpt2(5, num_layers=1))
    alone, two = trunk(tf.constant([[3]])), trunk(tf.constant([[3, 2]]))
    np.testing.assert_allclose(alone, two[:, :1], rtol=1e-5, atol=1e-6)
