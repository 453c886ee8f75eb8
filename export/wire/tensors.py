"""NumPy arrays to and from TensorProto messages of any library, without TensorFlow.

Reference: tensorflow/core/framework/tensor.proto and tensor.cc (`Tensor::FromProto`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import ml_dtypes
import numpy as np

from kpg.types import Array

# Protocol buffers, of TensorFlow or of the client itself: both have the same fields and
# no types.
Message: TypeAlias = Any
TensorProto: TypeAlias = Any
TensorInfo: TypeAlias = Any
SignatureDef: TypeAlias = Any


class Kind(NamedTuple):
    """What TensorFlow calls one data type, and how it stores it."""

    number: int  # in the enum tensorflow.DataType
    name: str  # in TensorFlow Serving's error messages
    dtype: np.dtype[Any]
    field: str  # the repeated field that holds the values
    wire: np.dtype[Any]  # element type of that field
    raw: np.dtype[Any]  # a value seen as elements of that field: bits, or two numbers


def _kind(
    number: int, name: str, dtype: Any, field: str, wire: str, raw: Any = None
) -> Kind:
    made = np.dtype(dtype)
    return Kind(number, name, made, field, np.dtype(wire), np.dtype(raw or made))


_KINDS = (
    _kind(1, "float", "<f4", "float_val", "<f4"),
    _kind(2, "double", "<f8", "double_val", "<f8"),
    _kind(3, "int32", "<i4", "int_val", "<i4"),
    _kind(4, "uint8", "u1", "int_val", "<i4"),
    _kind(5, "int16", "<i2", "int_val", "<i4"),
    _kind(6, "int8", "i1", "int_val", "<i4"),
    _kind(7, "string", "O", "string_val", "O"),
    _kind(8, "complex64", "<c8", "scomplex_val", "<f4", "<f4"),
    _kind(9, "int64", "<i8", "int64_val", "<i8"),
    _kind(10, "bool", "?", "bool_val", "?"),
    # Quantised numbers have a name of their own in TensorFlow's arrays, too.
    _kind(11, "qint8", [("qint8", "i1")], "int_val", "<i4", "i1"),
    _kind(12, "quint8", [("quint8", "u1")], "int_val", "<i4", "u1"),
    _kind(13, "qint32", [("qint32", "<i4")], "int_val", "<i4", "<i4"),
    _kind(14, "bfloat16", ml_dtypes.bfloat16, "half_val", "<i4", "<u2"),
    _kind(15, "qint16", [("qint16", "<i2")], "int_val", "<i4", "<i2"),
    _kind(16, "quint16", [("quint16", "<u2")], "int_val", "<i4", "<u2"),
    _kind(17, "uint16", "<u2", "int_val", "<i4"),
    _kind(18, "complex128", "<c16", "dcomplex_val", "<f8", "<f8"),
    _kind(19, "half", "<f2", "half_val", "<i4", "<u2"),
    _kind(22, "uint32", "<u4", "uint32_val", "<u4"),
    _kind(23, "uint64", "<u8", "uint64_val", "<u8"),
)
BY_NUMBER = {kind.number: kind for kind in _KINDS}
BY_NAME = {kind.name: kind for kind in _KINDS}
_BY_DTYPE = {kind.dtype: kind for kind in _KINDS}

# A packed repeated field of fixed-size elements has the same bytes as the array, so it
# can be appended as it is: tag, length, buffer. This costs a hundredth of
# `extend(list)`.
_PACKED_TAGS = {1: b"\x2a", 2: b"\x32", 10: b"\x5a"}

# No message is larger, so a shape that asks for more cannot be genuine.
_LARGEST_BYTES = 2**31 - 1
# A few bytes can ask for any number of rows, by repeating the last value or by rows
# without values. TensorFlow Serving makes them all; what is sent in full has no limit.
MOST_REPEATED_BYTES = 2**24
MOST_REPEATED_ROWS = 2**16


class TooLarge(ValueError):
    """A tensor that is much larger than the message that describes it."""


def type_name(number: int) -> str:
    """Returns the name that TensorFlow's messages use for a data type's number."""
    return BY_NUMBER[number].name if number in BY_NUMBER else f"type {number}"


def shape_of(info: TensorInfo) -> tuple[int | None, ...] | None:
    """Returns the sizes of an input or output: None where, or if, they vary."""
    shape = info.tensor_shape
    if shape.unknown_rank:
        return None
    return tuple(one.size if one.size >= 0 else None for one in shape.dim)


def kind_of(array: Array) -> Kind:
    """Returns the data type of an array; `str`, `bytes` and objects are strings."""
    if array.dtype.kind in "SUO":
        return BY_NUMBER[7]
    kind = _BY_DTYPE.get(array.dtype) or _BY_DTYPE.get(array.dtype.newbyteorder("<"))
    if kind is None:
        raise ValueError(
            "An array of a request or a response must hold numbers, booleans or "
            f"strings; convert it with astype. Received: dtype={array.dtype}"
        )
    return kind


def decode(tensor: TensorProto) -> Array:
    """Reads a TensorProto the way `Tensor::FromProto` does; may be a read-only view.

    A typed field that is too short is filled up with its last value. Raises a
    `ValueError` for an unknown type, a wrong shape, or another number of bytes, and a
    `TooLarge` for a small message that stands for a large tensor.
    """
    kind = BY_NUMBER.get(tensor.dtype)
    if kind is None:
        raise ValueError(f"The data type must be known. Received: {tensor.dtype}")
    shape = tuple(dimension.size for dimension in tensor.tensor_shape.dim)
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * kind.dtype.itemsize > _LARGEST_BYTES:
        raise ValueError(f"The shape must be one of a message. Received: {shape}")
    if not count:
        _check_repeats(shape, math.prod(shape[: shape.index(0)]), 0)
    if tensor.tensor_content:
        return _from_content(kind, tensor.tensor_content, shape)
    return _from_values(kind, getattr(tensor, kind.field), shape)


def _from_content(kind: Kind, content: bytes, shape: tuple[int, ...]) -> Array:
    if kind.name == "string" or len(content) != math.prod(shape) * kind.dtype.itemsize:
        raise ValueError(
            f"tensor_content must hold {shape} of {kind.name}. "
            f"Received: {len(content)} bytes"
        )
    return np.frombuffer(content, kind.dtype).reshape(shape)


def _from_values(kind: Kind, values: Sequence[Any], shape: tuple[int, ...]) -> Array:
    count = math.prod(shape)
    if kind.name == "string":
        items = values[:count] or [b""]
        array = np.empty(len(items), object)
        array[:] = list(items)
        size = len(items[-1])
    else:
        array = np.array(values, kind.wire).astype(kind.raw, copy=False)
        if kind.raw != kind.dtype:
            pairs = kind.dtype.itemsize // kind.raw.itemsize
            array = array[: len(array) // pairs * pairs].view(kind.dtype)
        size = kind.dtype.itemsize
        if not len(array):
            array = np.zeros(1, kind.dtype)
    if len(array) >= count:
        return array[:count].reshape(shape)
    _check_repeats(shape, shape[0], count * size)
    if len(array) == 1:
        return np.broadcast_to(array.reshape((1,) * len(shape)), shape)
    fill = np.broadcast_to(array[-1:], count - len(array))
    return np.concatenate([array, fill]).reshape(shape)


def _check_repeats(shape: tuple[int, ...], rows: int, size: int) -> None:
    if rows > MOST_REPEATED_ROWS or size > MOST_REPEATED_BYTES:
        raise TooLarge(
            f"A tensor whose values are not all sent may have {MOST_REPEATED_ROWS} "
            f"rows and {MOST_REPEATED_BYTES} bytes; send all values, or fewer rows. "
            f"Received: shape {list(shape)}"
        )


def encode(array: Array, tensor: TensorProto, number: int = 0) -> None:
    """Writes an array into the typed field of an empty TensorProto.

    TensorFlow Serving answers in this form, and many clients read no other. `number` is
    the data type, if known: TensorFlow returns quantised numbers as plain integers.
    """
    kind = _told(array, number)
    head = _head(kind.number, array.shape)
    tag = _PACKED_TAGS.get(kind.number)
    if not array.size:
        tensor.MergeFromString(head)
    elif tag is not None:
        packed = array.astype(kind.dtype, copy=False).tobytes()
        tensor.MergeFromString(head + tag + _varint(len(packed)) + packed)
    elif kind.name == "string":
        tensor.MergeFromString(head)
        tensor.string_val.extend(_to_bytes(item) for item in array.reshape(-1).tolist())
    else:
        tensor.MergeFromString(head)
        flat = _little(array, kind).reshape(-1).view(kind.raw)
        getattr(tensor, kind.field).extend(flat.tolist())


def encode_content(array: Array, tensor: TensorProto, number: int = 0) -> None:
    """Writes an array into `tensor_content`, the fastest form to write and read.

    Strings have no such form, see `encode`.
    """
    if kind_of(array).name == "string":
        encode(array, tensor)
    else:
        kind = _told(array, number)
        tensor.MergeFromString(_head(kind.number, array.shape))
        tensor.tensor_content = _little(array, kind).tobytes()


def _little(array: Array, kind: Kind) -> Array:
    """Returns an array as bytes go over the wire; quantised numbers have no casts."""
    return array if kind.dtype.names else array.astype(kind.dtype, copy=False)


def _told(array: Array, number: int) -> Kind:
    """Returns the kind of an array, of which `number` says whether it is quantised."""
    kind = kind_of(array)
    if number not in (0, kind.number):
        told = BY_NUMBER.get(number)
        if told is not None and told.dtype.names and told.raw == kind.dtype:
            return told
    return kind


@functools.lru_cache(maxsize=1024)
def _head(number: int, shape: tuple[int, ...]) -> bytes:
    """Returns the bytes of the data type and the shape: answers repeat them."""
    sizes = b""
    for size in shape:
        dimension = b"\x08" + _varint(size) if size else b""
        sizes += b"\x12" + _varint(len(dimension)) + dimension
    # A scalar has a shape too: the empty one.
    return b"\x08" + _varint(number) + b"\x12" + _varint(len(sizes)) + sizes


def serialize(message: Message) -> bytes:
    """Returns a message as gRPC sends it."""
    return bytes(message.SerializeToString())


def _to_bytes(item: object) -> bytes:
    return item if isinstance(item, bytes) else str(item).encode()


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
