"""Rows of texts, from whatever holds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.language.rows import in_order, rows_of, texts_of
from kpg.text import PromptStream


class Frame:
    """A table as pandas has it: going through it gives the names of its columns."""

    def __iter__(self) -> Iterator[str]:
        return iter(["prompt"])

    def itertuples(self) -> Iterator[tuple[str]]:
        return iter([("a",)])


@pytest.mark.parametrize(
    "given",
    [
        ["a", "b"],
        ("a", b"b"),
        np.array(["a", "b"]),
        tf.constant(["a", "b"]),
        tf.data.Dataset.from_tensor_slices(["a", "b"]),
        (text for text in "ab"),
        {"a": 1, "b": 2}.keys(),
    ],
)
def test_texts_come_in_many_forms(given: Any) -> None:
    assert texts_of("texts", given) == ["a", "b"]


def test_rows_become_pythons_own() -> None:
    pairs = tf.data.Dataset.from_tensor_slices((["a"], ["b"]))
    assert rows_of("texts", pairs) == [("a", "b")]
    named = tf.data.Dataset.from_tensor_slices({"prompt": ["a"], "number": [1]})
    assert rows_of("texts", named) == [{"prompt": "a", "number": 1}]
    assert rows_of("texts", [["a", np.array([b"b"])]]) == [["a", ["b"]]]


@pytest.mark.parametrize(
    ("given", "received"),
    [
        ("ab", "'ab'"),
        (b"ab", "'ab'"),
        (tf.constant("ab"), "'ab'"),
        (None, "NoneType"),
        (3, "3"),
        ({"prompt": ["a"]}, "dict"),
        ({"a", "b"}, "set"),
        (frozenset("ab"), "frozenset"),
        (Frame(), "Frame"),
    ],
)
def test_what_has_no_rows_in_an_order_is_refused(given: Any, received: str) -> None:
    with pytest.raises(
        ValueError, match=f"rows in an order.*Received: texts=.*{received}"
    ):
        rows_of("texts", given)


def test_no_row_and_what_is_no_text_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least one. Received: texts=\[\]"):
        texts_of("texts", [])
    with pytest.raises(ValueError, match=r"must be strings. Received: texts\[1\]=3"):
        texts_of("texts", ["a", 3])


def test_a_stream_begins_with_what_has_an_order() -> None:
    with pytest.raises(ValueError, match="rows in an order"):
        PromptStream({"a", "b"})
    endless = iter(int, 1)
    assert in_order("rows", endless) is endless
