"""JSON that REST requests are made of: read, shown in errors, and written.

Reference: util/json_tensor.cc in tensorflow_serving, whose words these are.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from typing import Any

from kpg.export.wire.errors import invalid


def parse(body: bytes) -> dict[str, Any]:
    """Reads a JSON object; a `ServingError` says what is wrong with it."""
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body)
    except json.JSONDecodeError as error:
        raise invalid(
            f"JSON Parse error: {error.msg} at offset: {error.pos}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {shown(document)} Is not object")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """Returns the signature that a request names, empty for none."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {shown(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return name


def dumps(value: object) -> bytes:
    """Writes JSON. Strings that are not UTF-8 come out as the bytes that they are."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogateescape")


def is_object(value: Any) -> bool:
    """Whether a value is an object, and not bytes in the form of one."""
    return isinstance(value, dict) and not _is_base64(value)


def decode_base64(value: dict[str, Any]) -> bytes:
    """Returns the bytes that an object such as {"b64": "AQ=="} stands for."""
    if not _is_base64(value):
        raise invalid(
            f"JSON Value: {shown(value)} not formatted correctly for base64 data"
        )
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def shown(value: object, most: int = 256) -> str:
    """Returns the beginning of a value as JSON, without writing all of it."""
    text = ""
    for piece in _pieces(value):
        text += piece
        if len(text) >= most:
            break
    return text[:most]


def kind_of(value: object) -> str:
    """Returns what JSON calls a value, in TensorFlow Serving's errors."""
    if isinstance(value, bool):
        return str(value)
    kinds = {type(None): "Null", dict: "Object", list: "Array", str: "String"}
    return kinds.get(type(value), "Number")


def _is_base64(value: dict[str, Any]) -> bool:
    return list(value) == ["b64"] and isinstance(value["b64"], str)


def _pieces(value: object) -> Iterator[str]:
    try:
        yield from json.JSONEncoder().iterencode(value)
    except RecursionError:
        yield "…"
