"""Byte-pair encoding: against a naive one with the patterns that were published."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg.text import BPETokenizer, Codec, byte_symbols, check_tokenizer
from tests.published_splitting import PATTERNS, SPECIAL, texts, words

MERGES = [
    *("Ġ Ġ", "Ċ Ċ", "Ġ t", "h e", "Ġt he", "t h", "th e", "e r", "1 2", "Ġ 1", "3 3"),
    *("ĠĠ ĠĠ", "' l", "'l l", "Ã ©", "Ġ Ċ", "12 1", "< |", "Ġ' s", "Ġ '", "! Ċ"),
]


def vocabulary() -> list[str]:
    joined = [merge.replace(" ", "") for merge in MERGES]
    return [*SPECIAL, *byte_symbols(), *dict.fromkeys(joined)]


def tokenizer(splitting: str = "gpt-2", **options: Any) -> BPETokenizer:
    given = {
        "vocabulary": vocabulary(),
        "merges": MERGES,
        "end_token": "<|end|>",
        "pad_token": "<pad>",
        "special_tokens": SPECIAL,
        "splitting": splitting,
    }
    return BPETokenizer(**{**given, **options})


def naive(text: str, splitting: str) -> list[int]:
    """Sennrich et al. (2016), a pair at a time."""
    ids = {token: index for index, token in enumerate(vocabulary())}
    found = []
    for word in words(text, splitting):
        tokens = [byte_symbols()[byte] for byte in word.encode()]
        if word in SPECIAL:
            tokens = [word]
        while pairs := [f"{a} {b}" for a, b in itertools.pairwise(tokens)]:
            ranks = [MERGES.index(p) if p in MERGES else len(MERGES) for p in pairs]
            at = int(np.argmin(ranks))
            if ranks[at] == len(MERGES):
                break
            tokens[at : at + 2] = ["".join(tokens[at : at + 2])]
        found += [ids[token] for token in tokens]
    return found


@pytest.mark.parametrize("splitting", PATTERNS)
def test_tokens_are_those_of_a_naive_encoder(splitting: str) -> None:
    asked, made = texts(), tokenizer(splitting)
    rows = Codec(made).encode(asked)
    for text, row in zip(asked, rows, strict=True):
        assert row.tolist() == naive(text, splitting), repr(text)


def test_eager_calls_and_graphs_agree() -> None:
    made, asked = tokenizer("smollm"), texts(20)
    codec = Codec(made)
    eager = made.tokenize(tf.constant(asked))
    assert eager.dtype == tf.int32
    assert eager.to_list() == [row.tolist() for row in codec.encode(asked)]
    back = [text.decode() for text in made.detokenize(eager).numpy()]
    assert back == codec.decode(codec.encode(asked)) == asked
    check_tokenizer(made, made.vocabulary_size())


def test_bytes_have_symbols() -> None:
    symbols = byte_symbols()
    assert len({*symbols}) == 256 and all(s.isprintable() for s in symbols)
    known = {0x20: "Ġ", 0x0A: "Ċ", 0x41: "A", 0xAD: "Ń", 0xFF: "ÿ", 0x00: "Ā"}
    assert {code: symbols[code] for code in known} == known


def test_detokenizes_what_is_no_text() -> None:
    made = tokenizer()
    half = made.tokenize(["é"]).to_list()[0]
    assert len(half) == 1
    first = vocabulary().index("Ã")
    rows = tf.constant([[first, vocabulary().index("a"), 10_000, -1]])
    assert made.detokenize(rows).numpy()[0].decode() == "\ufffda"
    assert Codec(made).decode([np.zeros(0, np.int32)]) == [""]


def test_a_byte_that_is_no_token_is_left_out() -> None:
    symbols = [symbol for symbol in vocabulary() if "a" not in symbol]
    made = tokenizer(vocabulary=symbols, pad_token=SPECIAL[1], special_tokens=[])
    (row,) = Codec(made).encode(["at he"])
    assert [symbols[token] for token in row] == ["t", "Ġ", "he"]


def test_a_graph_of_core_operations_without_tables() -> None:
    made = tokenizer("smollm")
    function = tf.function(
        lambda texts: made.detokenize(made.tokenize(texts)),
        [tf.TensorSpec([None], tf.string)],
    )
    graph = function.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    kinds = {node.op for node in nodes}
    assert "StaticRegexReplace" in kinds and "StatelessWhile" in kinds
    assert not [kind for kind in kinds if ">" in kind or "Table" in kind]


def test_is_saved_by_name() -> None:
    config = keras.saving.serialize_keras_object(tokenizer("qwen2"))
    again = keras.saving.deserialize_keras_object(config)
    assert isinstance(again, BPETokenizer)
    assert again.get_config() == tokenizer("qwen2").get_config()
    assert again.tokenize(["12 the"]).to_list() == [naive("12 the", "qwen2")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"splitting": "words"}, "gpt-2, smollm, llama-bpe, qwen2.*'words'"),
        ({"vocabulary": ["<|end|>", "<pad>", "a", "a"]}, "4 tokens, 3 different"),
        ({"merges": ["a b"]}, "'ab', which is not"),
        ({"merges": ["ab"]}, "'ab', which is not"),
        ({"pad_token": "[PAD]"}, r"'\[PAD\]', which is not"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tokenizer(**options)
