"""Strings to tokens and back, always by a tokenizer's graph.

KerasHub 0.32's byte-pair encoders split differently in eager calls and in graphs. Only
the graph's tokens match models trained elsewhere, and only graphs can be exported.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from kpg.graph.compiling import traceable
from kpg.language.tokenizers.bpe_splitting import apart
from kpg.language.tokenizers.tokenizer import Tokenizer
from kpg.types import Tensor

Tokens: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]

# Two ways of splitting words differ in apostrophes, digits, runs of spaces and letters
# beyond ASCII.
_PROBE = ["It's 2026, and  nobody'll say “naïve” 3 times.\n\n  Amen!"]


class Codec:
    """The two directions of a tokenizer of any make, as compiled functions.

    Args:
        tokenizer: The tokenizer.
        start: The token that every prompt begins with. Defaults to none.
        special_tokens: Tokens that stand for themselves where a text has them, whatever
            the tokenizer makes of their letters. Defaults to none.

    Raises:
        ValueError: If the tokenizer does not know a special token.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        start: int | None = None,
        special_tokens: Sequence[str] = (),
    ) -> None:
        self.tokenizer = tokenizer
        self.start = start
        self._special = {token: id_of(token, tokenizer) for token in special_tokens}
        strings = [tf.TensorSpec([None], tf.string)]
        tokens = [tf.RaggedTensorSpec([None, None], tf.int32)]
        self._encode = traceable(self.tokens_of, strings)
        self._encode_prompts = traceable(self.prompts_of, strings)
        self._decode = traceable(self.texts_of, tokens)

    def tokens_of(self, texts: Tensor) -> tf.RaggedTensor:
        """Builds graph: the tokens `[B, (length)]` int32 of texts `[B]`."""
        if not self._special:
            return tf.cast(self.tokenizer.tokenize(texts), tf.int32)
        names, ids = zip(*self._special.items(), strict=True)
        pieces = apart(texts, names)
        flat = pieces.flat_values
        which = flat[:, tf.newaxis] == tf.constant(names)
        special = tf.reduce_any(which, axis=1)
        found = tf.gather(tf.constant(ids), tf.argmax(which, axis=1))[special]
        own = tf.RaggedTensor.from_row_lengths(found, tf.cast(special, tf.int64))
        others = tf.RaggedTensor.from_row_lengths(
            flat[~special], tf.cast(~special, tf.int64)
        )
        tokens = tf.cast(self.tokenizer.tokenize(others.flat_values), tf.int32)
        others = others.with_flat_values(tokens).merge_dims(1, 2)
        either = tf.concat([own, others], axis=1)
        return pieces.with_flat_values(either).merge_dims(1, 2)

    def prompts_of(self, texts: Tensor) -> tf.RaggedTensor:
        """Builds graph: as `tokens_of`, with `start` where it is not written anyway."""
        tokens = self.tokens_of(texts)
        if self.start is None:
            return tokens
        begun = tf.reduce_any(tokens[:, :1] == self.start, axis=1)
        ones = tf.cast(~begun, tf.int64)
        front = tf.fill([tf.reduce_sum(ones)], self.start)
        return tf.concat([tf.RaggedTensor.from_row_lengths(front, ones), tokens], 1)

    def texts_of(self, tokens: tf.RaggedTensor) -> Tensor:
        """Builds graph: texts `[B]` of tokens `[B, (length)]`.

        Left out are tokens that only the model has: vocabularies are often padded.
        """
        known = tokens < int(self.tokenizer.vocabulary_size())
        return self.tokenizer.detokenize(tf.ragged.boolean_mask(tokens, known))

    def encode(self, texts: Sequence[str], prompts: bool = False) -> list[Tokens]:
        """Returns the tokens of each text, an int32 array each, without end tokens.

        Those of `prompts` have their start.
        """
        encode = self._encode_prompts if prompts else self._encode
        tokens = encode(tf.constant(list(texts), tf.string))
        return [np.asarray(row, np.int32) for row in tokens.to_list()]

    def decode(self, rows: Sequence[Tokens]) -> list[str]:
        """Returns the text of each row of tokens; rows may have any lengths."""
        return [text.decode(errors="replace") for text in self.decode_bytes(rows)]

    def decode_bytes(self, rows: Sequence[Tokens]) -> list[bytes]:
        """Returns the text of each row of tokens as the tokenizer has it."""
        flat = np.concatenate([np.zeros(0, np.int32), *rows])
        lengths = np.array([len(row) for row in rows], np.int64)
        # The check costs as much as all the rest; these lengths cannot be wrong.
        ragged = tf.RaggedTensor.from_row_lengths(flat, lengths, validate=False)
        texts: list[bytes] = self._decode(ragged).numpy().tolist()
        return texts


def id_of(token: str, tokenizer: Tokenizer) -> int:
    """Returns the number of a special token; a `ValueError` if there is none."""
    found, known = 0, False
    # Tokenizers of KerasHub have both methods, those of others may have none.
    try:
        found = int(tokenizer.token_to_id(token))  # type: ignore[attr-defined]
        known = tokenizer.id_to_token(found) == token  # type: ignore[attr-defined]
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    if not known:
        raise ValueError(
            "Special tokens and end tokens must be such that the tokenizer can look up "
            f"by `token_to_id`. Received: {token!r}, {type(tokenizer).__name__}"
        )
    return found


def padded(rows: Sequence[Tokens]) -> tuple[Tokens, Tokens]:
    """Returns N ≥ 1 rows as a table `[N, L]`, padded with 0, and lengths `[N]`."""
    lengths = np.array([len(row) for row in rows], np.int32)
    table = np.zeros([len(rows), lengths.max()], np.int32)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table, lengths


def shortened(row: Tokens, limit: int, side: str, start: int | None) -> Tokens:
    """Returns a prompt of at most `limit` tokens, cut on its "left" or "right" side.

    A start token stays where it is.
    """
    if len(row) <= limit or side == "right":
        return row[:limit]
    kept = int(row[0] == start)
    return np.concatenate([row[:kept], row[len(row) - limit + kept :]])


def check_tokenizer(
    tokenizer: Tokenizer, vocabulary_size: int, codec: Codec | None = None
) -> None:
    """Refuses a tokenizer that a model cannot be trained with: a `ValueError`.

    It needs `tokenize`, `detokenize`, `vocabulary_size` and `end_token_id`, at most
    `vocabulary_size` tokens, those of the model, and an end that is not the padding. A
    warning says if its eager implementation gives other tokens than its graph, that of
    `codec` if there is one already.
    """
    wanted = ("tokenize", "detokenize", "vocabulary_size", "end_token_id")
    missing = [name for name in wanted if getattr(tokenizer, name, None) is None]
    if missing:
        raise ValueError(
            f"A tokenizer needs {', '.join(wanted)}, like `kpg.text.ByteTokenizer` and "
            f"KerasHub's. Received: {type(tokenizer).__name__} without "
            f"{', '.join(missing)}"
        )
    size, end = int(tokenizer.vocabulary_size()), int(tokenizer.end_token_id)
    if size > vocabulary_size or not 0 <= end < vocabulary_size:
        raise ValueError(
            "The tokenizer does not match the model: it has tokens that the model does "
            f"not know. Received: a tokenizer with {size} tokens, end_token_id={end}, "
            f"and a model with {vocabulary_size}"
        )
    if getattr(tokenizer, "pad_token_id", None) == end:
        raise ValueError(
            "The end token must differ from padding, or every padded text seems to "
            "have ended; reserve a token for padding in the vocabulary. Received: "
            f"pad_token_id={end}, end_token_id={end}"
        )
    _warn_of_two_tokenizers(codec or Codec(tokenizer))


def _warn_of_two_tokenizers(codec: Codec) -> None:
    """Compares the eager and the graph implementation on a short text."""
    tokenizer = codec.tokenizer
    eager = tokenizer.tokenize(tf.constant(_PROBE))
    rows = eager.to_list() if isinstance(eager, tf.RaggedTensor) else eager
    first = np.asarray(rows[0], np.int32)
    if not np.array_equal(first, codec.encode(_PROBE)[0]):
        warnings.warn(
            f"{type(tokenizer).__name__} splits a text differently when it is called "
            "eagerly, as `generate()` of a KerasHub model calls it, than in a graph, "
            "which is what kpg trains with and exports. Make it with "
            "`_allow_python_workflow=False`, and both agree.",
            stacklevel=3,
        )
