"""How byte-pair encoding splits a text into words before it joins bytes.

Of several blanks before a word, the last one belongs to it. Encoders look ahead for
that, which TensorFlow's RE2 cannot; a first pass splits such runs here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from kpg.types import Tensor

# A code point that Unicode reserves for programs; no text has it.
_CUT = "\ufdd0"

# What Unicode calls white space; `\s` is ASCII's.
_BLANK = r"\t-\r\x{85}\p{Z}"
_LINE = r"\r\n"
_INLINE = r"\t\x0b\x0c\x{85}\p{Z}"

_ENDINGS = "'s|'t|'re|'ve|'m|'ll|'d"
_OTHER = rf" ?[^{_BLANK}\p{{L}}\p{{N}}{_CUT}]+"
_GPT2 = rf"{_ENDINGS}| ?\p{{L}}+| ?\p{{N}}+|{_OTHER}|[{_BLANK}]+"
_LLAMA3 = (
    rf"(?i:{_ENDINGS})|[^{_LINE}\p{{L}}\p{{N}}{_CUT}]?\p{{L}}+|\p{{N}}{{1,DIGITS}}|"
    rf"{_OTHER}[{_LINE}]*|[{_BLANK}]*[{_LINE}]+|[{_BLANK}]+"
)


class Splitting(NamedTuple):
    """A word, the blanks of which it takes the last (RE2), whether digits split."""

    word: str
    blank: str = _BLANK
    digits: bool = False


# The names are those of llama.cpp.
SPLITTINGS = {
    "gpt-2": Splitting(_GPT2),
    "smollm": Splitting(_GPT2, digits=True),
    "llama-bpe": Splitting(_LLAMA3.replace("DIGITS", "3"), _INLINE),
    "qwen2": Splitting(_LLAMA3.replace("DIGITS", "1"), _INLINE),
}


def words_of(
    texts: Tensor, splitting: Splitting, special_tokens: list[str]
) -> tf.RaggedTensor:
    """Splits texts `[B]` into words `[B, (words)]`, none empty.

    Each of `special_tokens`, at least one, is one word wherever it occurs.
    """
    pieces = apart(texts, special_tokens)
    flat = pieces.flat_values
    special = tf.reduce_any(flat[:, tf.newaxis] == tf.constant(special_tokens), axis=1)
    words = tf.strings.split(tf.where(special, flat, _parted(flat, splitting)), _CUT)
    words = pieces.with_flat_values(words).merge_dims(1, 2)
    return tf.ragged.boolean_mask(words, words != "")


def apart(texts: Tensor, special_tokens: Sequence[str]) -> tf.RaggedTensor:
    """Cuts texts `[B]` at special tokens: pieces `[B, (pieces)]`, none empty."""
    longest_first = sorted(special_tokens, key=len, reverse=True)
    codes = [[rf"\x{{{ord(sign):x}}}" for sign in token] for token in longest_first]
    pattern = "|".join("".join(signs) for signs in codes)
    texts = tf.strings.regex_replace(texts, f"({pattern})", rf"{_CUT}\1{_CUT}")
    pieces = tf.strings.split(texts, _CUT)
    return tf.ragged.boolean_mask(pieces, pieces != "")


def _parted(texts: Tensor, splitting: Splitting) -> Tensor:
    """Inserts a cut after each word."""
    if splitting.digits:
        texts = tf.strings.regex_replace(texts, r"(\p{N})", rf"{_CUT}\1{_CUT}")
    blank = splitting.blank
    run = rf"([{blank}]+)([{blank}][^{_BLANK}{_CUT}])"
    texts = tf.strings.regex_replace(texts, run, rf"\1{_CUT}\2")
    return tf.strings.regex_replace(texts, f"({splitting.word})", rf"\1{_CUT}")
