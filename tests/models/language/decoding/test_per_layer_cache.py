"""A cache for each layer: which slot holds what, and who sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.models.language.decoding.gpt2 import GPT2Decoder
from kpg.models.language.decoding.llama import LlamaDecoder
from kpg.models.language.decoding.per_layer_cache import LayeredDecoder
from kpg.models.language.decoding.selection import decoder_for
from kpg.models.language.decoding.tables import put_anywhere
from tests.judging import V
from tests.texts import gpt2, llama, padded, policy

PROMPTS = [[2, 3, 3], [4]]


def test_slots_hold_the_prompts_and_then_a_token_of_each_row() -> None:
    decoder = GPT2Decoder(policy("abc", gpt2(5, num_layers=2)).trunk)
    table, lengths = map(tf.constant, padded(PROMPTS))
    _, cache = decoder.start(table, lengths, 2)
    assert len(cache.keys) == len(cache.values) == 2
    assert cache.keys[0].shape == cache.values[1].shape == (2, 2, 5, 8)
    np.testing.assert_array_equal(cache.places, [[1, 2, 3, 0, 0], [1, 0, 0, 0, 0]])
    _, after = decoder.advance(tf.constant([2, 2]), tf.constant(0), lengths, cache)
    assert (int(cache.slot), int(after.slot)) == (3, 4)
    np.testing.assert_array_equal(after.places, [[1, 2, 3, 4, 0], [1, 0, 0, 2, 0]])
    for old, new in zip(cache.keys, after.keys, strict=True):
        moved = (np.asarray(old) != np.asarray(new)).any(axis=(0, 1, 3))
        assert moved.tolist() == [False] * 3 + [True, False]


def test_no_row_waits_for_a_longer_prompt() -> None:
    decoder = GPT2Decoder(policy("abc", gpt2(5)).trunk)
    np.testing.assert_array_equal(decoder.offsets(tf.constant([4, 1])), [0, 0])
    assert decoder.num_steps(4, 5) == 5


def test_a_window_hides_what_is_older() -> None:
    lm = llama(5, "Mistral", num_layers=2, sliding_window=2)
    trunk = policy("abc", lm).trunk
    texts = tf.constant([[2, 3, 4], [4, 3, 4]])
    lengths = tf.constant([3, 3])
    features, _ = LlamaDecoder(trunk).start(texts, lengths, 1)
    layers = trunk.lm.backbone.transformer_layers
    # Two layers with a window of 2 see three tokens, and a single one sees two.
    assert np.abs(features[0] - features[1]).max() > 1e-4
    for layer in layers[1:]:
        layer.sliding_window = 1
    features, _ = LlamaDecoder(trunk).start(texts, lengths, 1)
    np.testing.assert_allclose(features[0], features[1], atol=1e-6)


@pytest.mark.parametrize("family", ["GPT2", "Mistral"])
@pytest.mark.parametrize("remat", [False, True])
def test_a_prompt_is_read_once_for_all_that_go_on(family: str, remat: bool) -> None:
    """Values and gradients are those of whole texts, whatever pads the prompts."""
    if family == "GPT2":
        decoder: Any = GPT2Decoder(policy("abcde", gpt2(V, num_layers=2)).trunk)
    else:
        lm = llama(V, "Mistral", num_layers=2, sliding_window=3)
        decoder = LlamaDecoder(policy("abcde", lm).trunk)
    trunk = decoder.trunk
    prompts, lengths = tf.constant([[2, 3, 3], [4, 0, 0]]), tf.constant([3, 1])
    tokens = tf.constant([[2, 3], [5, 2], [3, 3], [6, 2]])
    state = tf.repeat(prompts, 2, axis=0), tf.repeat(lengths, 2)
    weights = [own.value for own in trunk.trainable_variables]
    found = []
    for shared in (True, False):
        with tf.GradientTape() as tape:
            if shared:
                features = decoder.continued(prompts, lengths, tokens, 2, remat)
            else:
                features = trunk.unroll(tf.transpose(tokens), state)[0]
                features = tf.transpose(features, [1, 0, 2])
            total = tf.reduce_sum(tf.sin(features))
        zero = tf.UnconnectedGradients.ZERO
        parts = tape.gradient(total, weights, unconnected_gradients=zero)
        found.append([features, *map(tf.convert_to_tensor, parts)])
    for ours, want in zip(*found, strict=True):
        np.testing.assert_allclose(ours, want, rtol=1e-4, atol=1e-5)


def test_long_texts_get_their_slots_in_stages() -> None:
    decoder = GPT2Decoder(policy("abc", gpt2(5)).trunk)
    assert decoder.stages(63) == [63]
    assert decoder.stages(112) == [37, 37, 38]
    assert decoder.stages(1000) == [333, 333, 334]
    # What is exported has one loop, of any length.
    assert GPT2Decoder(decoder.trunk, put_anywhere).stages(112) == [112]
    table, lengths = map(tf.constant, padded(PROMPTS))
    features, cache = decoder.start(table, lengths, 1)
    grown = decoder.grown(cache, 2)
    assert grown.keys[0].shape == grown.values[0].shape == (2, 2, 6, 8)
    fed, step = tf.constant([2, 3]), tf.constant(0)
    want, _ = decoder.advance(fed, step, lengths, cache)
    got, _ = decoder.advance(fed, step, lengths, grown)
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("build", [gpt2, llama])
def test_one_product_gives_what_three_give(build: Any) -> None:
    decoder = decoder_for(policy("abc", build(5, num_layers=2)).trunk)
    assert isinstance(decoder, LayeredDecoder)
    table, lengths = map(tf.constant, padded(PROMPTS))
    plain, ready = (one.start(table, lengths, 1) for one in (decoder, decoder.ready()))
    for want, got in zip(*map(tf.nest.flatten, (plain, ready)), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_quantized_kernels_are_left_to_their_layers() -> None:
    decoder = GPT2Decoder(policy("abc", gpt2(5)).trunk)
    assert decoder.ready() is not decoder
    layer = decoder.backbone.transformer_layers[0]
    layer._self_attention_layer._query_dense.quantize("int8")
    assert decoder.ready() is decoder
