"""Tables that grow while a text is written, and writing into them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import keras
import tensorflow as tf

from kpg.types import Tensor

Put: TypeAlias = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def put(table: Tensor, update: Tensor, slot: Tensor, axis: int) -> Tensor:
    """Writes `update`, of size 1 on `axis`, into a slot; XLA does it in place.

    Without XLA, TensorFlow still has XLA compile this operation, which TensorFlow
    Serving cannot do: see `put_anywhere`.
    """
    where: list[int | Tensor] = [0] * len(table.shape)
    where[axis] = slot
    return keras.ops.slice_update(table, where, update)


def put_anywhere(table: Tensor, update: Tensor, slot: Tensor, axis: int) -> Tensor:
    """Does what `put` does, by operations that every runtime of TensorFlow has."""
    places = [1] * len(table.shape)
    places[axis] = -1
    chosen = tf.range(sizes(table)[axis]) == slot
    return tf.where(tf.reshape(chosen, places), update, table)


def widened(table: Tensor, extra: int | Tensor, axis: int) -> Tensor:
    """Adds empty slots behind those that a table has on `axis`."""
    shape = sizes(table)
    shape[axis] = extra
    return tf.concat([table, tf.zeros(shape, table.dtype)], axis)


def sizes(tensor: Tensor) -> list[int | Tensor]:
    """Returns the sizes of all axes, as numbers where they are known."""
    dynamic = tf.shape(tensor)
    return [
        dynamic[axis] if size is None else size
        for axis, size in enumerate(tensor.shape)
    ]
