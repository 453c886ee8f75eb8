"""A tokenizer of frequent words, and of bytes for all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf
from typing_extensions import Self, override

from kpg import checks
from kpg.language.rows import texts_of
from kpg.language.tokenizers.tokenizer import (
    BYTES,
    FIRST_BYTE,
    GraphTokenizer,
    bytes_of,
)
from kpg.types import Config, Tensor

_FIRST_WORD = len(BYTES)

# A word takes the space before it along. Every character belongs to one of these.
_PIECE = r" ?\pL+| ?\pN+| ?[^\s\pL\pN]+|\s"
_SEPARATOR = b"\xff"  # which UTF-8 never has


@keras.saving.register_keras_serializable(package="kpg")
class WordTokenizer(GraphTokenizer):
    """One token for each word that it knows, and one for each byte of all others.

    A word is a run of letters, of digits or of other signs, with the space before it,
    so that " the" and "the" are two. Unknown words are spelled in bytes, so no text is
    lost. Token 0 pads (`pad_token_id`), token 1 ends a text (`end_token_id`), token
    `2 + b` is the byte `b`, and the words begin at 258.

    Args:
        words: At least one, each as it is written in a text, with the space before it;
            the attribute `words` keeps them.

    Raises:
        ValueError: If there is no word, or one occurs twice, is a single byte (which
            has a token anyway) or would be split.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        _check_words(self.words)
        super().__init__([*BYTES, *(word.encode() for word in self.words)])
        fingerprints = _fingerprints(tf.constant(self.words)).numpy()
        order = np.argsort(fingerprints)
        self._fingerprints = fingerprints[order]
        self._tokens = (_FIRST_WORD + order).astype(np.int32)

    @classmethod
    def from_texts(cls, texts: Iterable[str], vocabulary_size: int = 2048) -> Self:
        """Makes a tokenizer that knows the most frequent words of texts.

        It has at most `vocabulary_size` tokens, the 258 that are not words included. A
        `ValueError` says if there is no room for words, or no word.
        """
        checks.whole_number("vocabulary_size", vocabulary_size, _FIRST_WORD + 1)
        pieces = _pieces(tf.constant(texts_of("texts", texts), tf.string)).flat_values
        counts = Counter(word for word in pieces.numpy().tolist() if len(word) > 1)
        words = sorted(counts, key=lambda word: (-counts[word], word))
        words = words[: vocabulary_size - _FIRST_WORD]
        return cls(sorted(word.decode() for word in words))

    @override
    def tokenize(self, texts: Tensor) -> tf.RaggedTensor:
        pieces = _pieces(tf.convert_to_tensor(texts, tf.string))
        flat = pieces.flat_values
        prints = _fingerprints(flat)
        places = tf.searchsorted(self._fingerprints, prints)
        places = tf.minimum(places, len(self._fingerprints) - 1)
        known = tf.gather(self._fingerprints, places) == prints
        tokens = bytes_of(tf.where(known, "", flat)) + FIRST_BYTE
        words = tf.RaggedTensor.from_row_lengths(
            tf.gather(self._tokens, places)[known], tf.cast(known, tf.int64)
        )
        either = tf.concat([words, tokens], axis=1)
        return pieces.with_flat_values(either).merge_dims(1, 2)

    @override
    def get_config(self) -> Config:
        return {"words": list(self.words)}


def _pieces(texts: Tensor) -> tf.RaggedTensor:
    marked = tf.strings.regex_replace(texts, f"({_PIECE})", rb"\1" + _SEPARATOR)
    pieces = tf.strings.split(marked, _SEPARATOR)
    return tf.ragged.boolean_mask(pieces, pieces != "")


def _fingerprints(words: Tensor) -> Tensor:
    """Returns numbers of 62 bits; a table of words would be a resource to export."""
    return tf.strings.to_hash_bucket_fast(words, 2**62)


def _check_words(words: tuple[str, ...]) -> None:
    if not words:
        checks.refuse("words", "must hold at least one word", [])
    twice = [word for word, count in Counter(words).items() if count > 1]
    if wrong := twice or [word for word in words if len(word.encode()) < 2]:
        raise ValueError(
            "`words` must hold at least one word, none twice, each of more than one "
            f"byte. Received: {wrong[0]!r}"
        )
    counts = _pieces(tf.constant(words)).row_lengths().numpy()
    if np.any(counts != 1):
        raise ValueError(
            "A word must be a run of letters, of digits or of other signs, after at "
            "most one space; no text is split into any other. Received: "
            f"{words[int(np.argmax(counts != 1))]!r}"
        )
