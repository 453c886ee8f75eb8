"""The codec against TensorFlow's own, in both directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from kpg.export.wire import tensors

NUMBERS = [
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "bfloat16",
    "complex64",
    "complex128",
    "qint8",
    "quint8",
    "qint16",
    "quint16",
    "qint32",
]
SHAPES = [(), (1,), (0, 4), (3, 2), (200, 3)]


def arrays(dtype: str, shape: tuple[int, ...]) -> Any:
    """Returns values from the whole range of the type."""
    rng = np.random.default_rng(0)
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype.startswith(("float", "bfloat")):
        return rng.normal(size=shape).astype(tf.as_dtype(dtype).as_numpy_dtype)
    if dtype.startswith("complex"):
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
    if "qint" in dtype or "quint" in dtype:
        plain = np.asarray(arrays(dtype.replace("q", ""), shape))
        return plain.view(tf.as_dtype(dtype).as_numpy_dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def plain(array: Any) -> Any:
    """Returns quantised numbers as integers, which can be compared."""
    return array.view(array.dtype[0]) if array.dtype.names else array


def parsed(tensor: Any, dtype: str) -> Any:
    """Decodes with `Tensor::FromProto`, which TensorFlow Serving uses."""
    return tf.io.parse_tensor(tensor.SerializeToString(), dtype).numpy()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("encode", [tensors.encode, tensors.encode_content])
def test_tensorflow_reads_what_we_write(
    encode: Any, dtype: str, shape: tuple[int, ...]
) -> None:
    array, tensor = np.asarray(arrays(dtype, shape)), tensor_pb2.TensorProto()
    encode(array, tensor)
    np.testing.assert_array_equal(parsed(tensor, dtype), plain(array))
    assert tensor.HasField("tensor_shape")
    back = tensors.decode(tensor)
    np.testing.assert_array_equal(plain(back), plain(array))
    assert back.dtype == array.dtype and back.shape == array.shape


@pytest.mark.parametrize("dtype", NUMBERS)
def test_the_typed_field_is_what_tensorflow_serving_fills(dtype: str) -> None:
    array, tensor = arrays(dtype, (2, 2)), tensor_pb2.TensorProto()
    tensors.encode(array, tensor)
    assert not tensor.tensor_content
    kind = tensors.kind_of(array)
    values = list(getattr(tensor, kind.field))
    assert values == array.reshape(-1).view(kind.raw).tolist()


def test_quantised_numbers_come_as_integers_and_go_by_their_signature() -> None:
    tensor = tensor_pb2.TensorProto()
    for encode in (tensors.encode, tensors.encode_content):
        encode(np.array([-3, 7], np.int8), tensor, tf.qint8.as_datatype_enum)
        assert tensor.dtype == tf.qint8.as_datatype_enum
        assert parsed(tensor, "qint8").tolist() == [-3, 7]
        tensor.Clear()
    tensors.encode(np.array([1.0], np.float32), tensor, tf.qint8.as_datatype_enum)
    assert tensor.dtype == tf.float32.as_datatype_enum


def test_strings() -> None:
    array, tensor = np.array([["left", "right"]], object), tensor_pb2.TensorProto()
    tensors.encode_content(array, tensor)
    expected = np.array([[b"left", b"right"]], object)
    np.testing.assert_array_equal(parsed(tensor, "string"), expected)
    np.testing.assert_array_equal(tensors.decode(tensor), expected)


def test_non_contiguous_and_big_endian_arrays() -> None:
    tensor = tensor_pb2.TensorProto()
    array = np.arange(12, dtype=">f4").reshape(3, 4).T
    tensors.encode(array, tensor)
    np.testing.assert_array_equal(parsed(tensor, "float32"), array)


def message(dtype: int, shape: list[int], **fields: Any) -> Any:
    """Builds a TensorProto field by field."""
    tensor = tensor_pb2.TensorProto(dtype=dtype, **fields)
    tensor.tensor_shape.SetInParent()
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


@pytest.mark.parametrize(
    ("tensor", "dtype"),
    [
        (message(1, [3], float_val=[1.0, 2.0]), "float32"),  # the last one repeats
        (message(1, [3]), "float32"),  # nothing at all is zeros
        (message(1, [2], float_val=[1.0, 2.0, 3.0]), "float32"),  # the rest is dropped
        (message(1, [1], int_val=[1]), "float32"),  # the wrong field is no field
        (message(1, [1], tensor_content=bytes(4), float_val=[7.0]), "float32"),
        (message(4, [2], int_val=[300]), "uint8"),
        (message(7, [2], string_val=[b"abc"]), "string"),
        (message(7, [2]), "string"),
        (message(10, [2], bool_val=[True]), "bool"),
        (message(19, [2], half_val=[15360]), "float16"),
    ],
)
def test_loose_messages_are_read_as_tensorflow_reads_them(
    tensor: Any, dtype: str
) -> None:
    np.testing.assert_array_equal(tensors.decode(tensor), parsed(tensor, dtype))


@pytest.mark.parametrize(
    "tensor",
    [
        message(0, [1], float_val=[1.0]),
        message(99, [1], float_val=[1.0]),
        message(20, [1]),
        message(1, [-1], float_val=[1.0]),
        message(1, [2], tensor_content=bytes(4)),
        message(1, [2], tensor_content=bytes(12)),
        message(1, [2**40, 2**40], float_val=[1.0]),
    ],
)
def test_what_tensorflow_cannot_read_we_refuse(tensor: Any) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        parsed(tensor, "float32")
    with pytest.raises(ValueError, match="Received"):
        tensors.decode(tensor)


def test_a_shape_that_no_message_can_fill_is_refused_before_it_is_filled() -> None:
    # TensorFlow tries for ten seconds to find the memory.
    with pytest.raises(ValueError, match="shape must be one of a message"):
        tensors.decode(message(1, [2**33], float_val=[1.0]))


BOMBS = {
    "bytes": message(1, [4_000, 2_000], float_val=[1.0]),
    "nothing sent": message(1, [300_000_000, 1]),
    "two values": message(1, [300_000_000, 1], float_val=[1.0, 2.0]),
    "rows": message(1, [2**16 + 1, 1], float_val=[1.0]),
    "rows without values": message(1, [2**40, 0]),
    "inner rows without values": message(1, [1, 2**40, 0]),
    "texts": message(7, [60_000], string_val=[b"x" * 1_000]),
}


@pytest.mark.parametrize("tensor", BOMBS.values(), ids=BOMBS.keys())
def test_a_small_message_does_not_become_a_large_tensor(tensor: Any) -> None:
    with pytest.raises(tensors.TooLarge, match="send all values.*Received: shape"):
        tensors.decode(tensor)


def test_repeated_values_take_no_memory() -> None:
    array = tensors.decode(message(1, [4_000, 1_000], float_val=[3.0]))
    assert array.strides == (0, 0) and array[-1, -1] == 3.0
    texts = tensors.decode(message(7, [4_000], string_val=[b"abc"]))
    assert texts.strides == (0,) and texts[-1] == b"abc"


def test_what_is_sent_in_full_has_no_limit() -> None:
    rows = tensors.MOST_REPEATED_ROWS + 1
    sent = message(6, [rows, 1], int_val=[7] * rows)
    assert tensors.decode(sent).shape == (rows, 1)
    assert tensors.decode(message(1, [0, 10**6])).shape == (0, 10**6)


def test_an_array_that_no_tensor_can_hold() -> None:
    with pytest.raises(ValueError, match="Received: dtype=datetime64"):
        tensors.encode(np.ones(2, "M8[s]"), tensor_pb2.TensorProto())


def test_names_of_types() -> None:
    assert tensors.type_name(1) == "float"
    assert tensors.type_name(14) == "bfloat16"
    assert tensors.type_name(20) == "type 20"
    assert tensors.BY_NAME["int64"] is tensors.BY_NUMBER[9]
    assert "no such type" not in tensors.BY_NAME
