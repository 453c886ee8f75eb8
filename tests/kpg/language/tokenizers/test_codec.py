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


@pytest.mark.slow
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


class Symbols(text.ByteTokenizer):
    """Bytes, and two tokens that no byte spells."""

    names = ("<bos>", "<turn>")

    def vocabulary_size(self) -> int:
        return 260

    def token_to_id(self, token: str) -> int:
        return 258 + self.names.index(token)

    def id_to_token(self, id: int) -> str:
        return self.names[id - 258]


def test_special_tokens_stand_for_themselves_by_choice() -> None:
    spelled = [2 + byte for byte in b"<bos>"]
    asked = ["<bos>a<turn>", "<turn><bos>", "", "ab"]
    rows = text.Codec(Symbols()).encode(asked)
    assert rows[0].tolist()[:5] == spelled
    rows = text.Codec(Symbols(), special_tokens=["<bos>", "<turn>"]).encode(asked)
    assert [row.tolist() for row in rows] == [[258, 99, 259], [259, 258], [], [99, 100]]
    rows = text.Codec(Symbols(), special_tokens=["<turn>"]).encode(asked)
    assert rows[0].tolist() == [*spelled, 99, 259]
    codec = text.Codec(Symbols(), 258, ["<bos>"])
    rows = codec.encode(asked, prompts=True)
    assert rows[0].tolist()[:2] == [258, 99] and rows[2].tolist() == [258]
    assert rows[1].tolist()[-1] == 258 == rows[1].tolist()[0]


@pytest.mark.parametrize("tokenizer", [Symbols(), text.ByteTokenizer()])
def test_refuses_special_tokens_that_are_none(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="can look up.*Received: '<eos>'"):
        text.Codec(tokenizer, special_tokens=["<eos>"])


def test_a_policy_reads_special_tokens_of_its_prompts() -> None:
    made = CausalLMPolicy(
        text.gpt2(260, hidden_dim=8), Symbols(), special_tokens=["<bos>"]
    )
    assert made.padded(["<bos>a"])[0].tolist() == [[258, 99]]
    assert made.get_config()["special_tokens"] == ["<bos>"]


@pytest.mark.slow
def test_special_tokens_of_kerashub() -> None:
    tokenizer = bpe(_allow_python_workflow=False, unsplittable_tokens=[])
    end = tokenizer.end_token_id
    codec = text.Codec(tokenizer, special_tokens=["<|endoftext|>"])
    (row,) = codec.encode(["a<|endoftext|>n"])
    vocabulary = tokenizer.vocabulary
    assert row.tolist() == [vocabulary["a"], end, vocabulary["n"]]
