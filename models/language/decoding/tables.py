"""Tables that grow while a text is written, and slots of them that are filled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

Put = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, int], tf.Tensor]


def put(table: tf.Tensor, update: tf.Tensor, slot: tf.Tensor, axis: int) -> tf.Tensor:
    """Writes `update`, of size 1 on `axis`, into a slot of a table.

    XLA does it in place. Without XLA the operation is compiled by XLA for itself, which
    TensorFlow Serving cannot do: see `put_anywhere`.
    """
    where: list[Any] = [0] * len(table.shape)
    where[axis] = slot
    return keras.ops.slice_update(table, where, update)


def put_anywhere(
    table: tf.Tensor, update: tf.Tensor, slot: tf.Tensor, axis: int
) -> tf.Tensor:
    """Does what `put` does, by operations that every runtime of TensorFlow has."""
    places: list[Any] = [1] * len(table.shape)
    places[axis] = -1
    chosen = tf.range(sizes(table)[axis]) == slot
    return tf.where(tf.reshape(chosen, places), update, table)


def widened(table: tf.Tensor, extra: int | tf.Tensor, axis: int) -> tf.Tensor:
    """Adds empty slots behind those that a table has on `axis`."""
    shape = sizes(table)
    shape[axis] = extra
    return tf.concat([table, tf.zeros(shape, table.dtype)], axis)


def sizes(tensor: tf.Tensor) -> list[Any]:
    """Returns the sizes of all axes, as numbers where they are known."""
    dynamic = tf.shape(tensor)
    return [
        dynamic[axis] if size is None else size
        for axis, size in enumerate(tensor.shape)
    ]
