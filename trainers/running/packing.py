"""Nests of numbers, strings and arrays as JSON, with the arrays beside it.

Nothing in them is code, so that reading what somebody else has written is safe.
"""

from __future__ import annotations

import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from kpg.types import Nest


def packed(nest: Nest, arrays: list[bytes]) -> Nest:
    """Returns what `json` writes; arrays and bytes are added to `arrays`.

    Raises a `ValueError` for what is no `None`, bool, number, string, bytes, array,
    list, tuple or dictionary of such. Arrays keep their dtype, and tuples lose a name.
    """
    if nest is None or isinstance(nest, (bool, int, str)) or type(nest) is float:
        return nest
    if isinstance(nest, list):
        return [packed(part, arrays) for part in nest]
    if isinstance(nest, tuple):
        return {"tuple": [packed(part, arrays) for part in nest]}
    if isinstance(nest, dict):
        items = [[packed(part, arrays) for part in item] for item in nest.items()]
        return {"dictionary": items}
    if isinstance(nest, bytes):
        arrays.append(nest)
        return {"bytes": len(arrays) - 1}
    try:
        proto = tf.make_tensor_proto(nest)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "What is kept must be made of numbers, strings, bytes, arrays, lists, "
            f"tuples and dictionaries. Received: {type(nest).__name__}"
        ) from error
    arrays.append(proto.SerializeToString())
    return {"array": len(arrays) - 1}


def unpacked(node: Nest, arrays: list[bytes]) -> Nest:
    """Returns the nest that `packed` took; tensors have become NumPy arrays."""
    if isinstance(node, list):
        return [unpacked(part, arrays) for part in node]
    if not isinstance(node, dict):
        return node
    ((kind, value),) = node.items()
    if kind == "tuple":
        return tuple(unpacked(part, arrays) for part in value)
    if kind == "dictionary":
        return {unpacked(k, arrays): unpacked(v, arrays) for k, v in value}
    if kind == "bytes":
        return arrays[value]
    proto = tensor_pb2.TensorProto.FromString(arrays[value])
    # A copy: what is read from a message cannot be written to.
    return tf.make_ndarray(proto).copy()
