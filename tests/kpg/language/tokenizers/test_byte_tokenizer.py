"""Bytes as tokens."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from kpg import text

TEXTS = ["plain", "", "naïve – 日本", "a\nb\x00c"]


def test_bytes_are_tokens() -> None:
    tokens = text.ByteTokenizer().tokenize(tf.constant(TEXTS)).to_list()
    assert tokens == [[2 + byte for byte in line.encode()] for line in TEXTS]
    assert text.ByteTokenizer().vocabulary_size() == 258


def test_detokenizes_a_table() -> None:
    tokens = tf.constant([[106, 107, 1, 0], [67, 0, 0, 0]])
    np.testing.assert_array_equal(
        text.ByteTokenizer().detokenize(tokens), [b"hi", b"A"]
    )


def test_a_graph_of_core_operations() -> None:
    tokenizer = text.ByteTokenizer()
    graph = (
        tf.function(
            lambda texts: tokenizer.detokenize(tokenizer.tokenize(texts)),
            [tf.TensorSpec([None], tf.string)],
        )
        .get_concrete_function()
        .graph
    )
    core = {operation.type for operation in graph.get_operations()}
    assert not [name for name in core if ">" in name]
    assert not core & {"RegexSplitWithOffsets", "HashTableV2", "LookupTableFindV2"}


def test_is_saved_by_name() -> None:
    config = keras.saving.serialize_keras_object(text.ByteTokenizer())
    again = keras.saving.deserialize_keras_object(config)
    assert isinstance(again, text.ByteTokenizer)
