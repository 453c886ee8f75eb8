"""Requests and answers of the REST interface: JSON to arrays and back.

Reference: util/json_tensor.cc in tensorflow_serving, whose checks and words these are,
and https://www.tensorflow.org/tfx/serving/api_rest.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from kpg.export.serving.json_values import (
    decode_base64,
    is_object,
    kind_of,
    shown,
    signature_name,
)
from kpg.export.wire import tensors
from kpg.export.wire.errors import ServingError, invalid
from kpg.export.wire.tensors import SignatureDef, TensorInfo
from kpg.types import Array

_SIGNED = {"int8": 32, "int16": 32, "int32": 32, "uint8": 32, "int64": 64}
_UNSIGNED = {"uint32": 32, "uint64": 64}
_MOST_DIMENSIONS = 32
_WRITABLE = {*_SIGNED, *_UNSIGNED, "float", "double", "bool", "string"}


def read_predict(
    document: Mapping[str, Any], signature: SignatureDef
) -> tuple[dict[str, Array], bool]:
    """Returns the arrays of a request, and whether it gives them row by row."""
    infos = dict(signature.inputs)
    if not infos:
        name = signature_name(document) or "DEFAULT"
        raise invalid(f"Failed to get input map for signature: {name}")
    if "instances" in document:
        instances = document["instances"]
        if "inputs" in document:
            raise invalid(
                f"JSON Value: {shown(document)} Not formatted correctly expecting "
                "only one of 'inputs' or 'instances' keys to exist "
            )
        if not isinstance(instances, list):
            raise invalid(
                f"JSON Value: {shown(document)} Expecting 'instances' to be an "
                "list/array"
            )
        if not instances:
            raise invalid(
                f"JSON Value: {shown(document)} No values in 'instances' array"
            )
        return _read_rows(instances, infos), True
    if "inputs" in document:
        return _read_columns(document["inputs"], infos), False
    raise invalid("Missing 'inputs' or 'instances' key")


def write_predict(outputs: Mapping[str, Array], by_rows: bool) -> object:
    """Returns what a prediction is answered with, ready for `dumps`."""
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    if not by_rows:
        values = {name: _plain(name, array) for name, array in outputs.items()}
        return {"outputs": values if len(values) > 1 else next(iter(values.values()))}
    rows = -1
    for name, array in outputs.items():
        if not array.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if rows not in (-1, len(array)):
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} "
                f"expecting: {rows}"
            )
        rows = len(array)
    columns = {name: _plain(name, array) for name, array in outputs.items()}
    if len(columns) == 1:
        return {"predictions": next(iter(columns.values()))}
    names = list(columns)
    return {
        "predictions": [
            dict(zip(names, row, strict=True))
            for row in zip(*columns.values(), strict=True)
        ]
    }


def numbers(array: Array) -> Any:
    """Returns nested lists that print a float32 as short as it is: 0.2."""
    if array.dtype == np.float32:
        array = array.astype("U32").astype(np.float64)
    return array.tolist()


def _read_rows(instances: list[Any], infos: dict[str, TensorInfo]) -> dict[str, Array]:
    if not isinstance(instances[0], dict) and len(infos) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map"
        )
    named = is_object(instances[0])
    columns: dict[str, list[Any]] = {name: [] for name in sorted(infos)}
    (single, *_) = columns
    shapes: dict[str, tuple[int, ...]] = {}
    for row, instance in enumerate(instances):
        if named != is_object(instance):
            what = "object but got list" if named else "value/list but got object"
            raise invalid(f"Expecting {what} at item {row} of input list")
        for name, value in (instance if named else {single: instance}).items():
            where = f" key: {name}" if named else ""
            try:
                if name not in infos:
                    raise invalid(f"JSON object: does not have named input: {name}")
                columns[name].append(_flat(value, infos[name], shapes.get(name)))
                shapes.setdefault(name, _shape(value))
            except ServingError as error:
                raise invalid(
                    f"Failed to process element: {row}{where} of 'instances' list. "
                    f"Error: {error.code}: {error.message}"
                ) from error
        if named and instance.keys() != infos.keys():
            raise invalid(
                f"Failed to process element: {row} of 'instances' list. JSON object: "
                f"{shown(instance)} keys must be equal to: {','.join(sorted(infos))}"
            )
    return {
        name: _array(
            [one for row in rows for one in row],
            infos[name],
            (len(instances), *shapes[name]),
        )
        for name, rows in columns.items()
    }


def _read_columns(value: Any, infos: dict[str, TensorInfo]) -> dict[str, Array]:
    if not is_object(value):
        if len(infos) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map"
            )
        value = {next(iter(infos)): value}
    made = {}
    for name in sorted(infos):
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        flat = _flat(value[name], infos[name], None)
        made[name] = _array(flat, infos[name], _shape(value[name]))
    return made


def _flat(value: Any, info: TensorInfo, expected: tuple[int, ...] | None) -> list[Any]:
    """Returns the values of nested lists, whose form and type are checked."""
    shape = _shape(value)
    kind = tensors.BY_NUMBER.get(info.dtype)
    if kind is None or len(shape) > _MOST_DIMENSIONS:
        raise invalid(
            f"JSON Value: {shown(value)} cannot become a tensor of "
            f"{tensors.type_name(info.dtype)} with {len(shape)} dimensions"
        )
    flat: list[Any] = []
    _collect(value, shape, 0, flat)
    read = _reader(kind.name)
    made = [read(one) for one in flat]
    if expected is not None and shape != expected:
        if len(made) != math.prod(expected):
            raise invalid(
                f"Expecting tensor size: {math.prod(expected)} but got: {len(made)}"
            )
        raise invalid(f"Expecting shape {_sizes(expected)} but got: {_sizes(shape)}")
    return made


def _collect(value: Any, shape: tuple[int, ...], level: int, flat: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {shown(value)} found at incorrect level: {level + 1} "
                f"in the JSON DOM. Expected at level: {len(shape)}"
            )
        flat.append(value)
        return
    if level >= len(shape):
        raise invalid(
            f"Encountered list at unexpected level: {level} expected < {len(shape)}"
        )
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for one in value:
        _collect(one, shape, level + 1, flat)


def _shape(value: Any) -> tuple[int, ...]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def _array(flat: list[Any], info: TensorInfo, shape: tuple[int, ...]) -> Array:
    kind = tensors.BY_NUMBER[info.dtype]
    if kind.name == "string":
        array = np.empty(len(flat), object)
        array[:] = flat
        return array.reshape(shape)
    with np.errstate(over="ignore"):
        wide = np.array(flat, kind.wire if kind.dtype.kind in "iu" else kind.dtype)
        return wide.astype(kind.dtype, copy=False).reshape(shape)


def _reader(kind: str) -> Callable[[Any], Any]:
    """Returns what makes a value of a data type of a JSON value, or refuses it."""

    def wrong(value: Any) -> NoReturn:
        raise invalid(
            f"JSON Value: {shown(value)} Type: {kind_of(value)} is not of expected "
            f"type: {kind}"
        )

    def number(value: Any) -> float | int:
        if type(value) not in (int, float):
            wrong(value)
        try:
            return float(value)
        except OverflowError:
            wrong(value)

    def integer(low: int, high: int) -> Callable[[Any], int]:
        def read(value: Any) -> int:
            if type(value) is not int or not low <= value <= high:
                wrong(value)
            return value

        return read

    def text(value: Any) -> bytes:
        if isinstance(value, dict):
            return decode_base64(value)
        if not isinstance(value, str):
            wrong(value)
        return value.encode("utf-8", "surrogatepass")

    def boolean(value: Any) -> bool:
        if not isinstance(value, bool):
            wrong(value)
        return value

    def unknown(value: Any) -> NoReturn:
        if isinstance(value, dict):
            wrong(value)
        raise ServingError(
            "UNIMPLEMENTED",
            f"Conversion of JSON Value: {shown(value)} to type: {kind}",
        )

    if kind in _SIGNED:
        half = 2 ** (_SIGNED[kind] - 1)
        return integer(-half, half - 1)
    if kind in _UNSIGNED:
        return integer(0, 2 ** _UNSIGNED[kind] - 1)
    plain = {"float": number, "double": number, "string": text, "bool": boolean}
    return plain.get(kind, unknown)


def _plain(name: str, array: Array) -> Any:
    """Returns an output as nested lists of what JSON has."""
    kind = tensors.kind_of(array)
    if kind.name not in _WRITABLE:
        raise invalid(f"Failed to write JSON value for tensor type: {kind.name}")
    if kind.name != "string":
        return numbers(array)
    if name.endswith("_bytes"):
        return _each(
            array.tolist(), lambda one: {"b64": base64.b64encode(one).decode()}
        )
    return _each(array.tolist(), lambda one: one.decode("utf-8", "surrogateescape"))


def _each(value: Any, change: Callable[[bytes], object]) -> Any:
    if isinstance(value, list):
        return [_each(one, change) for one in value]
    return change(value)


def _sizes(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(str(size) for size in shape) + "]"
