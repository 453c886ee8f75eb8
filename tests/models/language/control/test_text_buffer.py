"""Texts that grow, row by row."""

from __future__ import annotations

import numpy as np

from kpg.models.language.control.text_buffer import TextBuffer
from kpg.models.language.control.word_classes import WordClasses

PROMPTS = np.array([[2, 3, 4], [3, 0, 0]], np.int32)


def buffer() -> TextBuffer:
    classes = WordClasses({"x": [np.array([2, 3], np.int32)]}, 5)
    return TextBuffer(PROMPTS, np.array([3, 1], np.int32), classes, 2, 3, end=1)


def test_a_text_is_a_prompt_and_what_follows() -> None:
    texts = buffer()
    texts.begin(np.arange(2), np.array([1, 0]))
    texts.append(np.arange(2), np.array([2, 1]))
    assert texts.lengths.tolist() == [2, 4] and texts.ended.tolist() == [False, True]
    assert texts.tokens.tolist() == [[3, 2, 0, 0, 0, 0], [2, 3, 4, 1, 0, 0]]
    assert texts.states.tolist() == [1, 0]
    assert texts.prompt_ids(0).tolist() == [3]
    assert texts.completion_ids(1).tolist() == [1]


def test_a_phrase_ends_with_the_room_or_the_text() -> None:
    texts = buffer()
    texts.begin(np.arange(2), np.array([1, 0]))
    texts.insert(0, [2, 3, 4, 2])
    texts.insert(1, [2, 1, 2])
    assert texts.completion_ids(0).tolist() == [2, 3, 4]
    assert texts.completion_ids(1).tolist() == [2, 1]
    assert texts.stopped.tolist() == [False, True] and texts.ended.all()


def test_a_row_begins_again_without_a_trace() -> None:
    texts = buffer()
    texts.begin(np.arange(2), np.array([0, 0]))
    texts.append(np.arange(2), np.array([2, 1]))
    texts.begin(np.array([1]), np.array([1]))
    assert texts.tokens[1].tolist() == [3, 0, 0, 0, 0, 0]
    assert texts.counts.tolist() == [1, 0] and texts.states.tolist() == [1, 0]
    assert not texts.stopped.any()
