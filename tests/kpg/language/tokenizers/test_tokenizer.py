"""What a tokenizer must have, and what kpg's own have in common."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg.language.tokenizers.tokenizer import Tokenizer, bytes_of
from kpg.text import (
    BPETokenizer,
    ByteTokenizer,
    WordTokenizer,
    byte_symbols,
    check_tokenizer,
)


def byte_pairs() -> BPETokenizer:
    vocabulary = ["<end>", "<pad>", *byte_symbols(), "th", "the"]
    return BPETokenizer(vocabulary, ["t h", "th e"], "<end>", "<pad>")


MADE: list[Any] = [ByteTokenizer(), WordTokenizer(["the", " cat"]), byte_pairs()]
LINES = ["plain", "", "naïve – 日本", "a\nb\x00c"]
TEXTS = ["the cat", "", "naïve – 日本"]


def named(tokenizer: Any) -> str:
    return type(tokenizer).__name__


def test_bytes() -> None:
    found = bytes_of(tf.constant(TEXTS))
    assert found.dtype == tf.int32
    assert found.to_list() == [list(text.encode()) for text in TEXTS]


@pytest.mark.parametrize("tokenizer", MADE, ids=named)
def test_texts_come_back_and_unknown_tokens_are_skipped(tokenizer: Any) -> None:
    tokens = tokenizer.tokenize(tf.constant(TEXTS))
    assert tokens.dtype == tf.int32
    size = tokenizer.vocabulary_size()
    assert tf.reduce_max(tokens) < size
    padded = tf.concat([tokens, tf.fill([3, 1], size), tf.fill([3, 2], -1)], axis=1)
    for rows in (tokens, padded):
        found = [text.decode() for text in tokenizer.detokenize(rows).numpy()]
        assert found == TEXTS


def test_shipped_tokenizers_have_what_is_asked() -> None:
    """A type checker compares the signatures; here the values are compared."""
    asked: list[Tokenizer] = [ByteTokenizer(), WordTokenizer(["the"]), byte_pairs()]
    for tokenizer in asked:
        size = tokenizer.vocabulary_size()
        assert 0 <= tokenizer.end_token_id < size
        tokens = tokenizer.tokenize(tf.constant(TEXTS))
        assert isinstance(tokens, tf.RaggedTensor)
        assert tokenizer.end_token_id not in tokens.flat_values.numpy()
        spoken = tokenizer.detokenize(tokens)
        assert (spoken.dtype, spoken.shape) == (tf.string, [len(TEXTS)])
    members = {name for name in vars(Tokenizer) if not name.startswith("_")}
    for name in members:
        lacking: Any = type("Lacking", (ByteTokenizer,), {name: None})()
        with pytest.raises(ValueError, match=f"Lacking without {name}"):
            check_tokenizer(lacking, 258)


@pytest.mark.parametrize("tokenizer", MADE, ids=named)
def test_files_of_earlier_layouts_are_revived(tokenizer: Any) -> None:
    config: Any = keras.saving.serialize_keras_object(tokenizer)
    assert config["registered_name"] == f"kpg>{named(tokenizer)}"
    for module in ("kpg.text.word_tokenizer", "kpg.text.anything"):
        again: Any = keras.saving.deserialize_keras_object({**config, "module": module})
        assert type(again) is type(tokenizer)
        assert again.get_config() == tokenizer.get_config()


def test_bytes_are_tokens() -> None:
    tokens = ByteTokenizer().tokenize(tf.constant(LINES)).to_list()
    assert tokens == [[2 + byte for byte in line.encode()] for line in LINES]
    assert ByteTokenizer().vocabulary_size() == 258


def test_detokenizes_a_table() -> None:
    tokens = tf.constant([[106, 107, 1, 0], [67, 0, 0, 0]])
    np.testing.assert_array_equal(ByteTokenizer().detokenize(tokens), [b"hi", b"A"])


def test_a_graph_of_core_operations() -> None:
    tokenizer = ByteTokenizer()
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
    config = keras.saving.serialize_keras_object(ByteTokenizer())
    again = keras.saving.deserialize_keras_object(config)
    assert isinstance(again, ByteTokenizer)
