"""The words of a control in the tokens of an executor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kpg.models.language.control.word_classes import Row, WordClasses
from kpg.models.language.language_policy import LanguagePolicy


class Lexicon(NamedTuple):
    """What a control needs to know of an executor: V, and the token that ends a text.

    `classes` and `phrases` are the control's own words in the executor's tokens.
    """

    vocabulary_size: int
    end: int
    classes: WordClasses
    phrases: list[Row]


def lexicon_for(
    executor: LanguagePolicy,
    word_classes: Mapping[str, Sequence[str]],
    phrases: Sequence[str],
    max_new_tokens: int,
) -> Lexicon:
    """Translates word classes and phrases into tokens that the tokenizer can write."""
    size, end = executor.trunk.vocabulary_size, int(executor.tokenizer.end_token_id)
    classes = {
        name: _rows(executor, words, f"word_classes[{name!r}]")
        for name, words in word_classes.items()
    }
    rows = _rows(executor, phrases, "phrases")
    for phrase, row in zip(phrases, rows, strict=True):
        if len(row) > max_new_tokens:
            raise ValueError(
                "A phrase must have at most `max_new_tokens`. Received: "
                f"max_new_tokens={max_new_tokens}, and {len(row)} tokens of {phrase!r}"
            )
    return Lexicon(size, end, WordClasses(classes, size), rows)


def _rows(executor: LanguagePolicy, texts: Sequence[str], name: str) -> list[Row]:
    """Returns the tokens of texts that the tokenizer gives back unchanged."""
    rows: list[Row] = executor.codec.encode(texts)
    for text, row, back in zip(texts, rows, executor.codec.decode(rows), strict=True):
        # Some tokenizers put a space in front of every text, or take it away.
        same = back == text or (back.strip() == text.strip() != "")
        if not same or not len(row):
            raise ValueError(
                f"`{name}` must hold texts that the executor's tokenizer can write. "
                f"Received: {text!r}, which becomes {back!r}"
            )
    return rows
