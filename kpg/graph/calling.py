"""Calls of compiled functions, one after the other, from Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2

from kpg.types import Array, Nest

_UNFUSED = config_pb2.ConfigProto()
_UNFUSED.graph_options.rewrite_options.remapping = (
    rewriter_config_pb2.RewriterConfig.OFF
)


class FlatCall:
    """A function that is traced once, and called on arrays with little Python around.

    `tf.function` checks arguments in Python at each call, which takes four times as
    long as a small policy. The operation behind it takes flat arguments as they are:
    their shapes and dtypes must be those of the `signature`, a nest of specs for each
    argument. XLA would hand each call to a thread, which costs more than it saves.

    Not `fused`, a product, its bias and tanh stay three operations: oneDNN's one takes
    7 µs longer for a few rows of a small network. Its last digits differ.
    """

    def __init__(
        self,
        function: Callable[..., tuple[Nest, ...]],
        signature: Sequence[Nest],
        fused: bool = True,
    ) -> None:
        self._config = b"" if fused else _UNFUSED.SerializeToString()
        # Kept, since the operation needs the function.
        self._traced = tf.function(
            function, signature, autograph=False
        ).get_concrete_function()
        self._captured = list(self._traced.captured_inputs)
        self._dtypes = [output.dtype for output in self._traced.outputs]
        self._places = tf.nest.pack_sequence_as(
            self._traced.structured_outputs, [*range(len(self._dtypes))]
        )

    def __call__(self, *arguments: Nest) -> list[Nest]:
        """Returns what the function does, as arrays."""
        flat = [leaf for argument in arguments for leaf in leaves(argument)]
        outputs = tf.raw_ops.StatefulPartitionedCall(
            args=[*flat, *self._captured],
            Tout=self._dtypes,
            f=self._traced,
            config_proto=self._config,
        )
        arrays = [output.numpy() for output in outputs]
        return [_filled(places, arrays) for places in self._places]


def leaves(nest: Nest) -> list[Array]:
    """Returns the arrays of a nest, sooner than `tf.nest` where it is a plain one."""
    if isinstance(nest, np.ndarray):
        return [nest]
    if type(nest) is tuple:
        return [leaf for part in nest for leaf in leaves(part)]
    flat: list[Array] = tf.nest.flatten(nest)
    return flat


def _filled(places: Nest, arrays: list[Array]) -> Nest:
    """Puts arrays in the places that a nest of their numbers tells."""
    if isinstance(places, int):
        return arrays[places]
    if type(places) is tuple:
        return tuple([_filled(place, arrays) for place in places])
    return tf.nest.map_structure(arrays.__getitem__, places)
