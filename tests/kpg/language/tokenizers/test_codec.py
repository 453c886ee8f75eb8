"""Bytes and back, and tokenizers that do not go with a model."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg import text
from kpg.models import CausalLMPolicy
from tests.texts import bpe

TEXTS = ["plain", "", "naïve – 日本", "a\nb\x00c"]


def test_bytes_are_tokens() -> None:
    tokens = text.ByteTokenizer().tokenize(tf.constant(TEXTS)).to_list()
    assert tokens == [[2 + byte for byte in line.encode()] for line in TEXTS]
    assert text.ByteTokenizer().vocabulary_size() == 258


def test_texts_come_back() -> None:
    codec = text.Codec(text.ByteTokenizer())
    assert codec.decode(codec.encode(TEXTS)) == TEXTS
    assert codec.decode([np.array([0, 106, 1, 107, 0], np.int32)]) == ["hi"]
    assert codec.decode([np.array([2 + 0xC3, 106], np.int32)]) == ["�h"]
    # A model may have tokens that the tokenizer has not.
    assert codec.decode([np.array([258, 106, 1023], np.int32)]) == ["h"]


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


def test_the_graph_of_a_tokenizer_is_what_counts() -> None:
    tokenizer, whole = bpe(), bpe(_allow_python_workflow=False)
    vocabulary = tokenizer.vocabulary
    # A word takes one space in front of it, and those before stay alone.
    want = [vocabulary[symbol] for symbol in ("a", "Ġ", "Ġn", "o")]
    (ours,) = text.Codec(tokenizer).encode(["a  no"])
    assert ours.tolist() == want
    assert list(whole.tokenize(["a  no"])[0]) == want
    text.check_tokenizer(whole, 70)
    if list(tokenizer.tokenize(["a  no"])[0]) != want:  # KerasHub 0.32
        with pytest.warns(UserWarning, match="_allow_python_workflow=False"):
            text.check_tokenizer(tokenizer, 70)


@pytest.mark.parametrize(
    "build", [text.ByteTokenizer, pytest.param(bpe, marks=pytest.mark.slow)]
)
def test_eager_and_graph_agree(build: Any) -> None:
    options = {"_allow_python_workflow": False} if build is bpe else {}
    tokenizer = build(**options)
    lines = ["it's 3 times", "a  no", "   ", "\n\n n.", "Amen!  I'll  go,   no\n"]
    codec = text.Codec(tokenizer)
    rows = codec.encode(lines)
    eager = tokenizer.tokenize(tf.constant(lines))
    listed = eager.to_list() if isinstance(eager, tf.RaggedTensor) else eager
    assert [row.tolist() for row in rows] == [[*map(int, row)] for row in listed]
    spoken = tokenizer.detokenize(tf.ragged.constant([row.tolist() for row in rows]))
    assert codec.decode(rows) == lines == [*map(tf.compat.as_text, np.array(spoken))]


def test_refuses_an_end_that_is_padding() -> None:
    class Zero(text.ByteTokenizer):
        end_token_id = 0

    with pytest.raises(ValueError, match="pad_token_id=0, end_token_id=0"):
        text.check_tokenizer(Zero(), 258)
    with pytest.raises(ValueError, match="end token must differ from padding"):
        CausalLMPolicy(text.gpt2(258, hidden_dim=8), Zero())


def test_refuses_a_tokenizer_of_another_model() -> None:
    with pytest.raises(ValueError, match="258 tokens.*a model with 40"):
        text.check_tokenizer(text.ByteTokenizer(), 40)


def test_refuses_what_is_no_tokenizer() -> None:
    name: Any = "gpt2"
    with pytest.raises(ValueError, match="Received: str without tokenize"):
        text.check_tokenizer(name, 40)


def test_refuses_heads_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="num_heads=3, hidden_dim=32"):
        text.gpt2(10, num_heads=3)


def test_a_seed_makes_the_weights() -> None:
    first, second, other = (text.gpt2(9, hidden_dim=8, seed=s) for s in (0, 0, 1))
    for ours, theirs in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    differ = zip(first.weights, other.weights, strict=True)
    assert any(not np.array_equal(ours, theirs) for ours, theirs in differ)


def test_importing_does_not_load_keras_hub() -> None:
    program = (
        "import sys, kpg.models, kpg.text, kpg.trainers, kpg.environments;"
        "sys.exit('keras_hub' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
