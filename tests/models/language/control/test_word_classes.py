"""What goes on with a word, against a search through all of them."""

from __future__ import annotations

import numpy as np
import pytest

from kpg.models.language.control.word_classes import WordClasses

VOCABULARY = 5


def rows(*words: str) -> list[np.ndarray]:
    return [np.array([int(letter) for letter in word], np.int32) for word in words]


def searched(words: list[str], text: str) -> set[int]:
    """Returns the tokens that go on with the longest end that begins a word."""
    for start in range(len(text) + 1):
        end = text[start:]
        found = {
            int(word[len(end)])
            for word in words
            if word.startswith(end) and len(word) > len(end)
        }
        if found:
            return found
    raise AssertionError("the empty end begins every word")


@pytest.mark.parametrize(
    "classes",
    [
        {"one": ["1"]},
        {"one": ["12", "123", "2"], "other": ["23", "3"]},
        {"long": ["11213", "1214"], "short": ["2"], "same": ["11213"]},
    ],
)
def test_goes_on_with_the_longest_beginning(classes: dict[str, list[str]]) -> None:
    made = WordClasses({k: rows(*words) for k, words in classes.items()}, VOCABULARY)
    assert made.names == tuple(classes)
    random = np.random.default_rng(0)
    reached = set()
    for _ in range(300):
        state, text = 0, ""
        for token in random.integers(1, VOCABULARY, size=8):
            state, text = made.after(state, int(token)), f"{text}{token}"
            reached.add(state)
            for number, words in enumerate(classes.values()):
                got = set(np.flatnonzero(made.continuing[state, number]).tolist())
                assert got == searched(words, text), text
    assert len(reached) == len(made.continuing)


def test_no_class_has_one_state() -> None:
    made = WordClasses({}, VOCABULARY)
    assert made.continuing.shape == (1, 0, VOCABULARY) and made.after(0, 3) == 0
