"""JSON to examples."""

from __future__ import annotations

from typing import Any

import pytest

from kpg.export import ServingError
from kpg.export.serving import json_examples


def features(value: Any) -> Any:
    (example,) = json_examples.read_examples(
        {"examples": [value]}
    ).example_list.examples
    return example.features.feature


def test_examples() -> None:
    found = features({"i": [1, True], "f": [1.5], "b": ["x", {"b64": "AQ=="}], "s": 3})
    assert list(found["i"].int64_list.value) == [1, 1]
    assert list(found["f"].float_list.value) == [1.5]
    assert list(found["b"].bytes_list.value) == [b"x", b"\x01"]
    assert list(found["s"].int64_list.value) == [3]
    both = json_examples.read_examples({"context": {"x": 1}, "examples": [{}, {}]})
    assert len(both.example_list_with_context.examples) == 2


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ({}, "key 'examples' is expected and was not found"),
        ({"examples": {}}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ({"context": [], "examples": [{}]}, "must be JSON object but got JSON Array"),
        (
            {"examples": [{"x": None}]},
            "Feature: x has element with unexpected JSON type: Null",
        ),
        (
            {"examples": [{"x": [[1]]}]},
            "Feature: x has element with unexpected JSON type: Array",
        ),
        (
            {"examples": [{"x": {"y": 1}}]},
            "Feature: x has element with unexpected JSON type: Object",
        ),
        (
            {"examples": [{"x": [1, 2.5]}]},
            "Unexpected element type in feature: x expecting type: int64",
        ),
        (
            {"examples": [{"x": [2**63]}]},
            "Feature: x has uint64_t element. Only int64_t is supported.",
        ),
    ],
)
def test_refused_examples(document: Any, wanted: str) -> None:
    with pytest.raises(ServingError) as caught:
        json_examples.read_examples(document)
    assert wanted in caught.value.message
