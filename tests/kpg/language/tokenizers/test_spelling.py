"""What tokens stand for: against whole texts that tokenizers write."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg import text
from kpg.language.tokenizers.spelling import spelling_of
from tests.texts import Letters, bpe


class Words(Letters):
    """Writes a space between words, and none in front, as SentencePiece does."""

    def detokenize(self, tokens: Any) -> tf.Tensor:
        found = tf.ragged.boolean_mask(tokens, tokens > 1)
        return tf.strings.reduce_join(
            tf.gather(self.symbols, found), axis=-1, separator=" "
        )


@pytest.mark.parametrize(
    "tokenizer",
    [
        Letters("abc"),
        Words("abc"),
        text.ByteTokenizer(),
        text.WordTokenizer([" the", "naïve"]),
        bpe(_allow_python_workflow=False),
    ],
)
def test_spellings_make_the_text(tokenizer: Any) -> None:
    codec = text.Codec(tokenizer)
    size = tokenizer.vocabulary_size()
    spelling = spelling_of(codec, size + 3)
    assert len(spelling.inside) == len(spelling.first) == size + 3
    assert spelling.inside[-3:] == spelling.first[-3:] == [b""] * 3
    special = {tokenizer.pad_token_id, tokenizer.end_token_id}
    tokens = [token for token in range(size) if token not in special]
    rows = np.random.default_rng(0).choice(tokens, [20, 4]).astype(np.int32)
    for row, whole in zip(rows, codec.decode(list(rows)), strict=True):
        parts = [spelling.first[row[0]], *(spelling.inside[token] for token in row[1:])]
        assert b"".join(parts).decode(errors="replace") == whole
