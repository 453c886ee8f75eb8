"""Slots that are filled by whatever a runtime has, and texts that are read again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.models.language.decoding.decoder import CachedDecoder, RereadingDecoder
from kpg.models.language.decoding.gpt2 import GPT2Decoder
from kpg.models.language.decoding.sampling import Sampler
from kpg.models.language.decoding.selection import decoder_for
from kpg.models.language.decoding.tables import put, put_anywhere, sizes, widened
from tests.texts import gemma, gpt2, llama, padded, policy

PROMPTS = [[2, 3, 3], [4], [3, 2, 4, 4, 2]]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("write", [put, put_anywhere])
def test_a_slot_is_filled(write: Any, axis: int) -> None:
    table = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    update = -np.ones_like(table).take([0], axis)
    right = table.copy()
    right[(slice(None),) * axis + (1,)] = -1.0
    got = write(tf.constant(table), tf.constant(update), tf.constant(1), axis)
    np.testing.assert_array_equal(got, right)


def test_a_table_grows_by_empty_slots() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.bool), tf.TensorSpec([])])
    def grown(table: tf.Tensor, extra: tf.Tensor) -> tf.Tensor:
        wide = widened(table, tf.cast(extra, tf.int32), axis=1)
        assert wide.shape.as_list() == [None, None]
        assert sizes(table)[1] == 2
        return wide

    got = grown(tf.constant([[True, True]]), tf.constant(2.0))
    np.testing.assert_array_equal(got, [[True, True, False, False]])


@pytest.mark.parametrize("build", [gpt2, llama, gemma])
@pytest.mark.parametrize("deterministic", [False, True])
def test_other_operations_write_the_same_texts(build: Any, deterministic: bool) -> None:
    made = policy("abc", build(5))
    prompts, lengths = padded(PROMPTS)
    arguments = (tf.constant(prompts), tf.constant(lengths), tf.constant([5, 6]))
    right = Sampler(made, 4, deterministic)(*arguments)
    portable = decoder_for(made.trunk, portable=True)
    sampler = Sampler(
        *(made, tf.constant(4), tf.constant(deterministic), portable),
        temperature=tf.constant(1.0),
        write=put_anywhere,
    )
    specs = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]
    specs.append(tf.TensorSpec([2], tf.int32))
    function = tf.function(sampler.__call__, specs, autograph=False)
    got = function(*arguments)
    np.testing.assert_array_equal(got.tokens, right.tokens)
    np.testing.assert_array_equal(got.valid, right.valid)
    np.testing.assert_allclose(got.log_probs, right.log_probs, atol=1e-5)
    np.testing.assert_allclose(got.values, right.values, atol=1e-5)
    kinds = {
        node.type for node in function.get_concrete_function().graph.get_operations()
    }
    assert not [kind for kind in kinds if kind.startswith("Xla")]


def test_the_temperature_can_be_another() -> None:
    cold, made = policy("abc", temperature=0.3), policy("abc")
    prompts, lengths = padded(PROMPTS)
    arguments = (tf.constant(prompts), tf.constant(lengths), tf.constant([5, 6]))
    right = Sampler(cold, 3)(*arguments)
    got = Sampler(made, 3, temperature=tf.constant(0.3))(*arguments)
    np.testing.assert_array_equal(got.tokens, right.tokens)
    np.testing.assert_allclose(got.log_probs, right.log_probs, atol=1e-5)


def test_what_reads_where_xla_does_not_run() -> None:
    fast = decoder_for(policy("abc").trunk, portable=True)
    assert isinstance(fast, GPT2Decoder) and fast.write is put_anywhere
    other = policy("abc", gemma(5)).trunk
    assert isinstance(decoder_for(other, portable=True), RereadingDecoder)
    assert isinstance(decoder_for(other), CachedDecoder)


def test_prompts_of_all_shapes_share_a_graph() -> None:
    made = policy("abc", gpt2(5, num_layers=1))
    batches = (["ab"], ["a", "cab"], ["ab", "c", "abc"])
    texts = [made.generate(prompts, 3, deterministic=True) for prompts in batches]
    assert made._completing(3, True).experimental_get_tracing_count() == 1
    assert texts[0][0] == texts[2][0]
