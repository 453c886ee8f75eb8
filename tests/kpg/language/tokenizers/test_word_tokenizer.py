"""A tokenizer of words and, for what it does not know, bytes."""

from __future__ import annotations

import re
from typing import Any

import keras
import pytest
import tensorflow as tf

import kpg
from kpg.export.loading import supported_operations as operations
from kpg.text import Codec, WordTokenizer

TEXTS = [
    "the cat saw the dog",
    "The dog, 12 cats -- the end.\n",
    "the café",
    "I am a bird",
]
WORDS = ["the", " cat", " saw", " the", " dog"]  # of the first text
ODD = [
    "",
    " ",
    "  two  spaces\tand\n\nlines ",
    "naïve “quotes” 日本語 😀 e\u0301",
    "no\u00a0break\u2009thin\u200bnothing",
    "it's 3.14%, isn't it?!",
]


def made(vocabulary_size: int = 1000) -> WordTokenizer:
    return WordTokenizer.from_texts(TEXTS, vocabulary_size)


def expected(tokenizer: WordTokenizer, text: str) -> list[int]:
    """Splits a text by Python's own expressions, one character after the other."""
    tokens: list[int] = []
    kind = r" ?[^\W\d_]+| ?\d+| ?(?:[^\w\s]|_)+|\s"
    for word in re.findall(kind, text):
        known = word in tokenizer.words
        spelled = [2 + code for code in word.encode()]
        tokens += [258 + tokenizer.words.index(word)] if known else spelled
    return tokens


def test_frequent_words_are_the_vocabulary() -> None:
    assert made(258 + 3).words == (" dog", " the", "the")
    # A single sign is a byte anyway; capitals and the space before a word matter.
    every = {" cat", " cats", " saw", " the", " dog", " 12", " --", " end", " café"}
    every |= {" am", " a", " bird"}
    assert set(made().words) == every | {"the", "The"}
    assert made().vocabulary_size() == 258 + 14


def test_words_are_tokens_and_others_are_spelled() -> None:
    tokenizer = made()
    texts = [*TEXTS, *ODD[:3], "the catalogue of dogs, 12 and 13"]
    rows = tokenizer.tokenize(texts).to_list()
    assert rows == [expected(tokenizer, text) for text in texts]
    assert rows[0] == [258 + list(tokenizer.words).index(word) for word in WORDS]


@pytest.mark.parametrize("text", [*TEXTS, *ODD])
def test_no_text_is_lost(text: str) -> None:
    tokenizer = made()
    (again,) = tokenizer.detokenize(tokenizer.tokenize([text])).numpy()
    assert again.decode() == text


def test_the_graph_does_the_same() -> None:
    tokenizer = made()
    kpg.text.check_tokenizer(tokenizer, tokenizer.vocabulary_size())
    codec = Codec(tokenizer)
    rows = codec.encode([*TEXTS, *ODD])
    assert [row.tolist() for row in rows] == tokenizer.tokenize(
        [*TEXTS, *ODD]
    ).to_list()
    assert codec.decode(rows) == [*TEXTS, *ODD]


def test_padding_ends_and_broken_characters_are_no_text() -> None:
    tokenizer = made()
    dog = 258 + tokenizer.words.index(" dog")
    table = tf.constant([[dog, 1, 0, 0], [2 + 0xC3, dog, dog, 1]])
    first, second = tokenizer.detokenize(table).numpy()
    assert (first.decode(), second.decode()) == (" dog", "\ufffd dog dog")


def test_a_configuration_makes_the_same_again() -> None:
    tokenizer = made()
    config: Any = keras.saving.serialize_keras_object(tokenizer)
    again: Any = keras.saving.deserialize_keras_object(config)
    assert again.words == tokenizer.words
    assert again.tokenize(TEXTS).to_list() == tokenizer.tokenize(TEXTS).to_list()


def test_its_graph_has_core_operations_alone() -> None:
    tokenizer = made()
    strings = tf.TensorSpec([None], tf.string)

    @tf.function(input_signature=[strings], autograph=False)
    def there_and_back(texts: tf.Tensor) -> tf.Tensor:
        return tokenizer.detokenize(tokenizer.tokenize(texts))

    graph = there_and_back.get_concrete_function().graph
    found = graph.get_operations()
    assert not operations.not_core(operation.type for operation in found)
    # Nor has it a lookup table, which would have to be kept and initialised.
    outputs = [tensor.dtype for operation in found for tensor in operation.outputs]
    assert outputs and tf.resource not in outputs


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "words=\\[\\]"),
        (["the", " the", "the"], "Received: 'the'"),
        (["the", "a"], "Received: 'a'"),
        (["the", "two words"], "Received: 'two words'"),
        (["the", "don't"], 'Received: "don\'t"'),
    ],
)
def test_words_that_are_none_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WordTokenizer(words)


def test_a_vocabulary_without_room_or_words_is_refused() -> None:
    with pytest.raises(ValueError, match="vocabulary_size=258"):
        made(258)
    with pytest.raises(ValueError, match="words=\\[\\]"):
        WordTokenizer.from_texts(["a", ""])
