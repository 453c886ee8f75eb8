"""A tokenizer of frequent words and, for all others, bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_FIRST_BYTE = 2
_FIRST_WORD = _FIRST_BYTE + 256

# A word takes the space before it along. Every character belongs to one of these.
_PIECE = r" ?\pL+| ?\pN+| ?[^\s\pL\pN]+|\s"
_SEPARATOR = b"\xff"  # which UTF-8 never has


@keras.saving.register_keras_serializable(package="kpg")
class WordTokenizer:
    """One token for each word that it knows, and one for each byte of all others.

    A word is a run of letters, of digits or of other signs, together with the space
    before it; " the" and "the" are two. No text is lost: what is not among the words is
    spelled, so that there is no token for the unknown. Token 0 pads, token 1 ends a
    text, token `2 + b` is the byte `b`, and from 258 on they are the words. Like
    `ByteTokenizer` it needs no file and no operation but TensorFlow's own.

    Example:
        >>> tokenizer = kpg.text.WordTokenizer.from_texts(["the cat, the dog"])
        >>> tokenizer.words
        (' cat', ' dog', ' the', 'the')
        >>> tokenizer.tokenize(["the dog!"]).to_list()
        [[261, 259, 35]]

    Args:
        words: At least one; each as it stands in a text, with the space before it.

    Attributes:
        words: The words.
        pad_token_id: 0.
        end_token_id: 1.

    Raises:
        ValueError: If there is no word, or one is there twice, is a single byte, which
            has a token anyway, or would be split.
    """

    pad_token_id = 0
    end_token_id = 1

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        _check_words(self.words)
        fingerprints = _fingerprints(tf.constant(self.words)).numpy()
        order = np.argsort(fingerprints)
        self._fingerprints = fingerprints[order]
        self._tokens = (_FIRST_WORD + order).astype(np.int32)

    @classmethod
    def from_texts(
        cls, texts: Sequence[str], vocabulary_size: int = 2048
    ) -> WordTokenizer:
        """Makes a tokenizer that knows the most frequent words of texts.

        Args:
            texts: Strings.
            vocabulary_size: Tokens at most, more than 258: those that are no words
                count. Defaults to 2048.

        Raises:
            ValueError: If there is no room for words, or no word.
        """
        if vocabulary_size <= _FIRST_WORD:
            raise ValueError(
                f"`vocabulary_size` must be more than {_FIRST_WORD}, the tokens that "
                f"are no words. Received: vocabulary_size={vocabulary_size}"
            )
        pieces = _pieces(tf.constant(list(texts), tf.string)).flat_values
        counts = Counter(pieces.numpy().tolist())
        words = sorted(
            (word for word in counts if len(word) > 1),
            key=lambda word: (-counts[word], word),
        )
        known = words[: vocabulary_size - _FIRST_WORD]
        return cls(sorted(word.decode() for word in known))

    def vocabulary_size(self) -> int:
        """Returns the number of tokens, 258 and the words."""
        return _FIRST_WORD + len(self.words)

    def tokenize(self, texts: Any) -> tf.RaggedTensor:
        """Returns the tokens of each text.

        Args:
            texts: `[B]` strings of UTF-8.

        Returns:
            `[B, (length)]` int32, without an end token.
        """
        pieces = _pieces(tf.convert_to_tensor(texts, tf.string))
        flat = pieces.flat_values
        prints = _fingerprints(flat)
        places = tf.searchsorted(self._fingerprints, prints)
        places = tf.minimum(places, len(self._fingerprints) - 1)
        known = tf.gather(self._fingerprints, places) == prints
        spelled = tf.strings.bytes_split(tf.where(known, "", flat))
        codes = tf.reshape(tf.io.decode_raw(spelled.flat_values, tf.uint8), [-1])
        tokens = spelled.with_flat_values(tf.cast(codes, tf.int32) + _FIRST_BYTE)
        words = tf.RaggedTensor.from_row_lengths(
            tf.gather(self._tokens, places)[known], tf.cast(known, tf.int64)
        )
        either = tf.concat([words, tokens], axis=1)
        return pieces.with_flat_values(either).merge_dims(1, 2)

    def detokenize(self, tokens: Any) -> tf.Tensor:
        """Returns the text of each row of tokens.

        Args:
            tokens: `[B, (length)]` integers, ragged or not; those that pad, or end a
                text, are skipped.

        Returns:
            `[B]` strings of valid UTF-8: what is not becomes U+FFFD.
        """
        if not isinstance(tokens, tf.RaggedTensor):
            tokens = tf.RaggedTensor.from_tensor(tokens)
        parts = [*(bytes([code]) for code in range(256)), *self.words]
        table = tf.constant([b"", b"", *parts], tf.string)
        texts = tf.strings.reduce_join(tf.gather(table, tokens), axis=-1)
        return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")

    def get_config(self) -> dict[str, Any]:
        """Returns the words."""
        return {"words": list(self.words)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WordTokenizer:
        """Makes the tokenizer that `get_config` described."""
        return cls(**config)


def _pieces(texts: tf.Tensor) -> tf.RaggedTensor:
    """Splits texts `[B]` into words `[B, (words)]`, none empty."""
    marked = tf.strings.regex_replace(texts, f"({_PIECE})", rb"\1" + _SEPARATOR)
    pieces = tf.strings.split(marked, _SEPARATOR)
    return tf.ragged.boolean_mask(pieces, pieces != "")


def _fingerprints(words: tf.Tensor) -> tf.Tensor:
    """Returns numbers of 62 bits that tell words apart.

    A lookup table would do so by the words themselves, but it is a resource that has to
    be kept, initialised and exported with everything that reads texts.
    """
    return tf.strings.to_hash_bucket_fast(words, 2**62)


def _check_words(words: tuple[str, ...]) -> None:
    twice = [word for word, count in Counter(words).items() if count > 1]
    single = [word for word in words if len(word.encode()) < 2]
    if not words or twice or single:
        raise ValueError(
            "`words` must hold at least one word, none twice, each of more than one "
            f"byte. Received: {(twice or single)[0]!r}"
            if words
            else "`words` must hold at least one word. Received: words=[]"
        )
    counts = _pieces(tf.constant(words)).row_lengths().numpy()
    if np.any(counts != 1):
        raise ValueError(
            "A word is a run of letters, of digits or of other signs, perhaps with one "
            "space before it; another would never be met. Received: "
            f"{words[int(np.argmax(counts != 1))]!r}"
        )
