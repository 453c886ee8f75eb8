"""Words, against the patterns as they were published."""

from __future__ import annotations

import pytest
import tensorflow as tf

from kpg.language.tokenizers.bpe_splitting import SPLITTINGS, words_of
from tests.published_splitting import PATTERNS, SPECIAL, texts, words


@pytest.mark.parametrize("splitting", PATTERNS)
def test_words_are_those_of_the_published_pattern(splitting: str) -> None:
    asked = texts(200)
    found = words_of(tf.constant(asked), SPLITTINGS[splitting], SPECIAL)
    for text, row in zip(asked, found.to_list(), strict=True):
        want = [word.encode() for word in words(text, splitting)]
        assert row == want, repr(text)
        assert b"".join(row) == text.encode()


def test_splittings_differ() -> None:
    text = tf.constant(["It'LL  be 1234!\n\n"])
    rows = {
        name: [word.decode() for word in words_of(text, kind, SPECIAL).to_list()[0]]
        for name, kind in SPLITTINGS.items()
    }
    assert rows["gpt-2"] == ["It", "'", "LL", " ", " be", " 1234", "!", "\n\n"]
    assert rows["smollm"][5:9] == [" ", "1", "2", "3"]
    assert rows["llama-bpe"] == ["It", "'LL", " ", " be", " ", "123", "4", "!\n\n"]
    assert rows["qwen2"][4:7] == [" ", "1", "2"]
