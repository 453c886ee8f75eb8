"""One token at a time, all at once, and both heads together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.models import CausalLMPolicy
from kpg.models.language.text_model import TextModel
from tests.texts import policy
from tests.unrolling import rows, unrolled


def test_steps_go_where_unrolling_goes() -> None:
    made = policy("abc")
    observations, state = rows()
    models: list[Any] = [made, made.critic]
    for model in models:
        outputs, states = unrolled(model)
        carried: Any = state
        for step, tokens in enumerate(observations):
            output, carried = model.step(tf.constant(tokens), carried)
            np.testing.assert_allclose(output, outputs[step], atol=1e-5)
            lengths = carried[1].numpy()
            np.testing.assert_array_equal(lengths, states[1][step])
            for row, length in enumerate(lengths):
                own = carried[0][row, :length]
                np.testing.assert_array_equal(own, states[0][step, row, :length])
                assert not states[0][step, row, length:].numpy().any()


def test_both_heads_in_one_pass() -> None:
    made = policy("abc")
    assert made.critic is not None
    observations, state = rows()
    resets = tf.zeros(observations.shape, tf.bool)
    both = made.unroll_with(made.critic, observations, state, resets)
    for got, model in zip(both, (made, made.critic), strict=True):
        np.testing.assert_allclose(got, unrolled(model)[0], atol=1e-6)


def test_an_unfinished_model_is_refused() -> None:
    class Half(TextModel):
        pass

    with pytest.raises(TypeError, match="Half must define outputs"):
        Half(policy("abc").trunk)
    with pytest.raises(TypeError, match="Did you mean unroll.*Received: unrolls"):

        class Slip(CausalLMPolicy):
            def unrolls(self, features: tf.Tensor) -> tf.Tensor:
                return features
