"""Prompts as a stream: in order, over passes, and when nothing comes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import pytest
import tensorflow as tf

from kpg.text import PromptStream


def numbers() -> Iterator[int]:
    yield from range(5)


def test_a_generator_is_read_as_far_as_it_is_needed() -> None:
    source = iter(range(100))
    stream = PromptStream(source)
    assert stream.take(0, 3) == stream.take(0, 3) == [0, 1, 2]
    assert stream.take(0, 2) == [0, 1] and stream.take(2, 3) == [2, 3, 4]
    assert stream.take(10, 2) == [10, 11]
    assert next(source) == 12


def test_a_data_set_begins_anew() -> None:
    stream = PromptStream(tf.data.Dataset.range(3))
    endless = list(itertools.islice(itertools.cycle(range(3)), 12))
    for first, count in ((0, 2), (2, 4), (6, 1), (1, 5), (11, 1), (0, 3)):
        found = [int(row) for row in stream.take(first, count)]
        assert found == endless[first : first + count]


def test_a_generator_ends_once() -> None:
    stream = PromptStream(numbers())
    assert stream.take(0, 4) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="has ended.*make a list.*after 5 prompts"):
        stream.take(4, 2)
    once = PromptStream(numbers())
    assert once.take(3, 1) == [3]
    with pytest.raises(ValueError, match="its earlier rows are gone"):
        once.take(0, 1)


def test_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one prompt.*RangeDataset after 0"):
        PromptStream(tf.data.Dataset.range(0)).take(0, 1)
    with pytest.raises(ValueError, match="at least one prompt.*islice after 0"):
        PromptStream(itertools.islice(numbers(), 0)).take(0, 1)
    with pytest.raises(ValueError, match="rows in an order.*Received: rows=3"):
        PromptStream(3)  # type: ignore[arg-type]  # what is refused
    with pytest.raises(ValueError, match="patience=0"):
        PromptStream([1], patience=0)


def test_what_never_yields_is_refused() -> None:
    release = threading.Event()

    def waits() -> Iterator[int]:
        yield 1
        release.wait()
        yield 2

    stream = PromptStream(waits(), patience=0.05)
    assert stream.take(0, 1) == [1]
    with pytest.raises(ValueError, match="none in 0.05 s after 1 prompts of generator"):
        stream.take(1, 1)
    release.set()


def test_what_a_data_set_raises_is_raised() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("no disk")

    stream = PromptStream(broken())
    assert stream.take(0, 1) == [1]
    with pytest.raises(OSError, match="no disk"):
        stream.take(1, 1)
