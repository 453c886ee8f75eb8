"""What ends a text: against searching the text itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg import text
from kpg.models.language.decoding.ending import Ending, ending_for
from kpg.models.language.writing import Writing
from tests.texts import Letters, bpe


def ending(tokenizer: Any, **options: Any) -> Ending:
    size = tokenizer.vocabulary_size()
    return ending_for(text.Codec(tokenizer), size, Writing(**options))


def stops_at(made: Ending, rows: np.ndarray) -> np.ndarray:
    """Returns after how many tokens each of `[B]` rows ends; T + 1 for never."""
    state, counts = made.start(len(rows)), np.full(len(rows), rows.shape[1] + 1)
    for step, tokens in enumerate(rows.T):
        state, last = made.after(state, tf.constant(tokens))
        counts = np.where((counts > step + 1) & last.numpy(), step + 1, counts)
    return counts


@pytest.mark.parametrize(
    ("tokenizer", "stop"),
    [
        (Letters("ab"), ["aab", "bb"]),
        (Letters("ab"), ["abab", "ba", "aaa"]),
        (text.WordTokenizer(["ab", " ba", "aab", "naïve"]), ["ba", "ïv", "ab a"]),
        pytest.param(
            *(bpe(_allow_python_workflow=False), ["\n\n", " n"]),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_text_ends_with_the_token_that_completes_a_string(
    tokenizer: Any, stop: list[str]
) -> None:
    made, codec = ending(tokenizer, stop=stop), text.Codec(tokenizer)
    size, end = tokenizer.vocabulary_size(), tokenizer.end_token_id
    likely = [row for word in stop for row in codec.encode([word, f"a{word}", "a"])]
    tokens = np.concatenate([*likely, np.arange(size - 4, size), [end]])
    rows = np.random.default_rng(0).choice(tokens, [60, 9]).astype(np.int32)
    counts = stops_at(made, rows)
    for length in range(1, 10):
        parts = [row[:length] for row in rows]
        texts = codec.decode([part[part != end] for part in parts])
        for part, written, count in zip(parts, texts, counts, strict=True):
            over = bool(end in part or any(word in written for word in stop))
            assert over == (length >= count)
    for row, count in zip(rows, counts, strict=True):
        assert made.ended(row[:count]) == (count <= 9)
    whole = codec.decode(
        [made.kept(row[:count]) for row, count in zip(rows, counts, strict=True)]
    )
    cut = [made.cut(written) for written in whole]
    assert not any(word in written for word in stop for written in cut)
    assert all(map(str.startswith, whole, cut)) and cut != whole


def test_a_text_is_cut_at_the_first_string() -> None:
    made = Ending([1], ["b.", "\n"], None)
    texts = ["ab.c\nd", "a\nb.", "abc", "", "xb.\n", "b.", "a\\E.b"]
    want = ["a", "a", "abc", "", "x", "", "a\\E.b"]
    assert [made.cut(one) for one in texts] == want
    graph = made.cut_in_graph(tf.constant(texts)).numpy().tolist()
    assert [one.decode() for one in graph] == want


def test_several_tokens_end_a_text() -> None:
    made = ending(Letters("abc"), end_tokens=["b", 4])
    rows = np.array([[2, 3, 2], [4, 2, 2], [2, 2, 1], [2, 2, 2]], np.int32)
    assert stops_at(made, rows).tolist() == [2, 1, 3, 4]
    assert [made.ended(row[:2]) for row in rows] == [True, False, False, False]
    assert made.kept(rows[0, :2]).tolist() == [2] and made.tokens == (1, 3, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stop": ["ad"]}, "stop string must be one that the tokenizer can.*'ad'"),
        ({"stop": ["aé"]}, "stop with 'aé'"),
        ({"stop": ["ab", "c"], "end_tokens": ["c"]}, "stop with 'c'"),
        ({"stop": ["a", ""]}, r"not empty. Received: stop=\('a', ''\)"),
        ({"end_tokens": [5]}, "must be of 5 tokens. Received: end_tokens=5"),
        ({"end_tokens": [-1]}, "at least 0. Received: end_tokens=-1"),
        ({"end_tokens": ["<|im_end|>"]}, "Received: '<|im_end|>', Letters"),
    ],
)
def test_what_cannot_be_written_is_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ending(Known("abc"), **options)


class Known(Letters):
    """Letters that leaves out what it does not know."""

    def tokenize(self, texts: Any) -> tf.RaggedTensor:
        return super().tokenize(tf.strings.regex_replace(texts, "[^abc]", ""))
