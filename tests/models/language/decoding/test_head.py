"""The head's embeddings, turned once: the same logits."""

from __future__ import annotations

import keras_nlp
import numpy as np
import tensorflow as tf

from kpg.models.language.decoding.head import turned, with_turned
from tests.texts import gpt2, policy


def test_logits_come_from_what_was_turned() -> None:
    trunk = policy("abc", gpt2(5)).trunk
    features = tf.constant(np.random.default_rng(0).normal(size=(3, 16)), tf.float32)
    want = trunk.logits(features)
    embeddings = turned(trunk)
    assert embeddings is not None and embeddings.shape == (16, 5)
    with with_turned(trunk, embeddings):
        np.testing.assert_allclose(trunk.logits(features), want, atol=1e-6)
    with with_turned(trunk, 2.0 * embeddings):
        np.testing.assert_allclose(trunk.logits(features), 2.0 * want, atol=1e-6)
    with with_turned(trunk, None):
        np.testing.assert_array_equal(trunk.logits(features), want)


def test_a_head_of_its_own_is_left_alone() -> None:
    backbone = keras_nlp.models.LlamaBackbone(
        vocabulary_size=5,
        num_layers=1,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=8,
        intermediate_dim=8,
        tie_word_embeddings=False,
    )
    made = policy("abc", keras_nlp.models.LlamaCausalLM(backbone=backbone))
    assert turned(made.trunk) is None


def test_a_large_table_is_left_as_it_is() -> None:
    assert turned(policy("abc", gpt2(2**17)).trunk) is not None  # of 16 features
    assert turned(policy("abc", gpt2(2**17 + 1)).trunk) is None


def test_adapted_embeddings_are_left_alone() -> None:
    trunk = policy("abc", gpt2(5)).trunk
    trunk.lm.backbone.token_embedding.enable_lora(1)
    assert turned(trunk) is None
