"""Examples to classify or to regress, as JSON says them.

Reference: util/json_tensor.cc in tensorflow_serving, whose checks and words these are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow_serving.apis import input_pb2

from kpg.export.serving.json_values import decode_base64, is_object, kind_of, shown
from kpg.export.wire.errors import invalid


def read_examples(document: Mapping[str, Any]) -> input_pb2.Input:
    """Returns the examples of a request to classify or to regress."""
    made = input_pb2.Input()
    target = made.example_list
    if "context" in document:
        target = made.example_list_with_context
        _fill_example(document["context"], target.context)
    if "examples" not in document:
        raise invalid(
            f"JSON Value: {shown(document)} When method is classify, key 'examples' "
            "is expected and was not found"
        )
    found = document["examples"]
    if not isinstance(found, list):
        raise invalid(
            f"JSON Value: {shown(document)} Expecting 'examples' value to be an "
            "list/array"
        )
    if not found:
        raise invalid(
            f"JSON Value: {shown(document)} 'examples' value is an empty array"
        )
    for one in found:
        _fill_example(one, target.examples.add())
    return made


def _fill_example(value: Any, example: example_pb2.Example) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {kind_of(value)}")
    for name, content in value.items():
        feature = example.features.feature[name]
        for one in content if isinstance(content, list) else [content]:
            _add_to_feature(one, name, feature)


def _add_to_feature(value: Any, name: str, feature: feature_pb2.Feature) -> None:
    if value is None or isinstance(value, list) or is_object(value):
        raise invalid(
            f"Feature: {name} has element with unexpected JSON type: {kind_of(value)}"
        )
    kind, made = "int64", value
    if isinstance(value, bool):
        made = int(value)
    elif isinstance(value, float):
        kind = "float"
    elif isinstance(value, (str, dict)):
        kind = "bytes"
        made = value.encode() if isinstance(value, str) else decode_base64(value)
    elif not -(2**63) <= value < 2**63:
        if value < 2**64:
            raise invalid(
                f"Feature: {name} has uint64_t element. Only int64_t is supported."
            )
        kind, made = "float", float(value)
    before = feature.WhichOneof("kind")
    if before not in (None, f"{kind}_list"):
        raise invalid(
            f"Unexpected element type in feature: {name} expecting type: "
            f"{before.removesuffix('_list')}"
        )
    getattr(feature, f"{kind}_list").value.append(made)
