"""JSON documents: read, shown, written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kpg.export import ServingError
from kpg.export.serving import json_values


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"{", "JSON Parse error: "),
        (b"\xff", "JSON Parse error: "),
        (b"[" * 100_000, "JSON Parse error: "),
        (b'{"x": 1' + b"0" * 10_000 + b"}", "JSON Parse error: "),
        (b"[]", "JSON Value: [] Is not object"),
        (b"3", "JSON Value: 3 Is not object"),
    ],
)
def test_what_is_no_document(body: bytes, wanted: str) -> None:
    with pytest.raises(ServingError) as caught:
        json_values.parse(body)
    assert caught.value.message.startswith(wanted)
    assert caught.value.code == "INVALID_ARGUMENT"


def test_documents() -> None:
    document = json_values.parse('{"x": [1, NaN, "é"], "signature_name": "s"}'.encode())
    assert document["x"][2] == "é"
    assert json_values.signature_name(document) == "s"
    assert json_values.signature_name({}) == ""
    with pytest.raises(ServingError) as caught:
        json_values.signature_name({"signature_name": 5})
    assert caught.value.message == (
        'JSON Value: {"signature_name": 5} not formatted correctly. '
        "'signature_name' key must be a string value."
    )


def test_values_are_shown_in_part() -> None:
    for value in ("a" * 1000, [1] * 1000, {"x": {"y": ["z" * 1000]}}):
        shown = json_values.shown(value)
        assert shown == json.dumps(value)[:256]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "Null"),
        (True, "True"),
        (1, "Number"),
        (1.5, "Number"),
        ("", "String"),
        ([], "Array"),
        ({}, "Object"),
    ],
)
def test_kinds(value: Any, kind: str) -> None:
    assert json_values.kind_of(value) == kind


def test_bytes() -> None:
    assert json_values.decode_base64({"b64": "AQ=="}) == b"\x01"
    assert not json_values.is_object({"b64": "?"}) and not json_values.is_object([])
    assert json_values.is_object({"b64": 1}) and json_values.is_object(
        {"b64": "", "x": 1}
    )
    with pytest.raises(ServingError, match="Unable to base64 decode"):
        json_values.decode_base64({"b64": "?"})
    with pytest.raises(ServingError, match="not formatted correctly for base64 data"):
        json_values.decode_base64({"b65": ""})


def test_what_is_written_may_be_no_utf_8() -> None:
    text = b"\xff\xc3\xa9".decode("utf-8", "surrogateescape")
    assert json_values.dumps({"x": text}) == b'{"x":"\xff\xc3\xa9"}'
