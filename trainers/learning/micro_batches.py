"""Learning from parts of a minibatch in turn: the same step in less memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import keras
import tensorflow as tf

from kpg.graph.scan import scan
from kpg.trainers.learning.batches import Batch, size_of, take
from kpg.types import Tensor

Gradients: TypeAlias = "list[Tensor | None]"
OfRows: TypeAlias = Callable[[Batch, Tensor], tuple[Gradients, Tensor]]


def in_turn(
    of_rows: OfRows,
    rows: Batch,
    size: int,
    variables: Sequence[keras.Variable],
    num_metrics: int,
) -> tuple[Gradients, Tensor]:
    """Adds up what `of_rows` returns of a minibatch's parts.

    Args:
        of_rows: Returns the gradients of a mean over a part's valid rows, or `None`
            where a variable has no effect, and metrics, both times a weight.
        rows: The minibatch.
        size: Rows or sequences of a part, a divisor of the minibatch's.
        variables: What the gradients belong to.
        num_metrics: How many metrics there are.

    Returns:
        What `of_rows(rows, 1.0)` returns but for rounding, gradients as tensors: a part
        weighs as much as it has valid rows.
    """
    pieces, reached = size_of(rows) // size, set[int]()

    def step(totals: list[Tensor], own: Tensor) -> tuple[list[Tensor], tuple[()]]:
        part = take(rows, own)
        found, values = of_rows(part, portion(part.valid, rows.valid, pieces))
        reached.update(n for n, gradient in enumerate(found) if gradient is not None)
        both = zip(totals, [*found, values], strict=True)
        return [total if own is None else _plus(total, own) for total, own in both], ()

    totals = [tf.zeros([1, *own.shape], _wide(own.dtype)) for own in variables]
    totals.append(tf.zeros([1, num_metrics]))
    order = tf.reshape(tf.range(pieces * size), [pieces, size])
    sums = scan(step, totals, order, like=(), at_a_time=1)[0]
    *sums, values = [tf.squeeze(total, 0) for total in sums]
    gradients = [tf.cast(s, v.dtype) for s, v in zip(sums, variables, strict=True)]
    return [g if n in reached else None for n, g in enumerate(gradients)], values


def portion(part: Tensor | None, whole: Tensor | None, pieces: int) -> Tensor:
    """Returns the weight of a part's mean in the mean over the valid rows of all.

    Of nothing but invalid rows, each of the `pieces` is as good as another.
    """
    if part is None or whole is None:
        return tf.constant(1.0 / pieces)
    counts = [tf.reduce_sum(tf.cast(valid, tf.float32)) for valid in (part, whole)]
    return tf.where(counts[1] > 0.0, tf.math.divide_no_nan(*counts), 1.0 / pieces)


def _wide(dtype: str) -> tf.DType:
    """Returns what many gradients are added up in: half precision would lose them."""
    own = tf.as_dtype(dtype)
    return own if own.size >= tf.float32.size else tf.float32


def _plus(total: Tensor, own: Tensor) -> Tensor:
    """Adds to a total, which has one more axis in front.

    Of a total and a gradient that is itself a sum, TensorFlow would make one sum. If it
    is large, a temporary variable takes its place, which the loop's last pass leaves
    behind, and the next loop fails. Of another shape, the two are never one sum.
    """
    return total + tf.expand_dims(tf.cast(own, total.dtype), 0)
