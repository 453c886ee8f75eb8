"""Bytes and back, and tokenizers that do not go with a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg import text
from kpg.models import CausalLMPolicy
from tests.texts import bpe

TEXTS = ["plain", "", "naïve – 日本", "a\nb\x00c"]


def test_texts_come_back() -> None:
    codec = text.Codec(text.ByteTokenizer())
    assert codec.decode(codec.encode(TEXTS)) == TEXTS
    assert codec.decode([np.array([0, 106, 1, 107, 0], np.int32)]) == ["hi"]
    assert codec.decode([np.array([2 + 0xC3, 106], np.int32)]) == ["�h"]
    # A model may have tokens that the tokenizer has not.
    assert codec.decode([np.array([258, 106, 1023], np.int32)]) == ["h"]


def test_the_graph_of_a_tokenizer_is_what_counts() -> None:
    tokenizer, whole = bpe(), bpe(_allow_python_workflow=False)
    vocabulary = tokenizer.vocabulary
    # A word takes one space in front of it, and those before stay alone.
    want = [vocabulary[symbol] for symbol in ("a", "Ġ", "Ġn", "o")]
    codec = text.Codec(tokenizer)
    (ours,) = codec.encode(["a  no"])
    assert ours.tolist() == want
    assert list(whole.tokenize(["a  no"])[0]) == want
    text.check_tokenizer(whole, 70)
    if list(tokenizer.tokenize(["a  no"])[0]) != want:  # KerasHub 0.32
        with pytest.warns(UserWarning, match="_allow_python_workflow=False"):
            text.check_tokenizer(tokenizer, 70, codec)


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
