"""Dense layers whose gradients are one fast product over all tokens.

A layer's product of `[B, L, K]` by `[K, M]` has a gradient for each row, `[B, K, M]`,
that TensorFlow then sums. Here the tokens of all rows are rows of one matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf
from keras.layers import Layer

from kpg.graph.gradients import with_gradient
from kpg.models.language.decoding.tables import sizes
from kpg.types import Tensor

# Turning a gradient takes as long as it saves in a product of about 1,000 rows.
_MANY = 2048


def applied(dense: Layer, inputs: Tensor) -> Tensor:
    """Returns what a `Dense` or an `EinsumDense` makes of `[B, L, ...]`.

    Its kernel has the axes of a token first, then those of the result.
    """
    if getattr(dense, "quantization_mode", None):
        return dense(inputs)  # its kernel is not what it multiplies by
    kernel = tf.cast(dense.kernel, dense.compute_dtype)
    outputs = projected(tf.cast(inputs, kernel.dtype), kernel)
    if dense.bias is not None:
        outputs += tf.cast(dense.bias, kernel.dtype)
    return outputs if dense.activation is None else dense.activation(outputs)


def projected(inputs: Tensor, kernel: Tensor) -> Tensor:
    """Returns `[B, L, *M]` of inputs `[B, L, *K]` and a kernel `[*K, *M]`."""
    batch_size, length, *own = sizes(inputs)
    width, others = math.prod(own), kernel.shape[len(own) :]
    rows = tf.reshape(inputs, [-1, width])
    outputs = _product(rows, tf.reshape(kernel, [width, -1]))
    return tf.reshape(outputs, [batch_size, length, *others])


@with_gradient
def _product(
    rows: Tensor, kernel: Tensor
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """Returns `[N, M]`, rows `[N, K]` times a kernel `[K, M]`."""

    def backward(outer: Tensor) -> tuple[Tensor, Tensor]:
        return tf.matmul(outer, kernel, transpose_b=True), _of_kernel(rows, outer)

    return tf.matmul(rows, kernel), backward


def _of_kernel(rows: Tensor, outer: Tensor) -> Tensor:
    """Returns the kernel's gradient `[K, M]`, `rows` turned times `outer` `[N, M]`."""
    count, width = rows.shape
    if width <= outer.shape[1] or count is None or count < _MANY:
        return tf.matmul(rows, outer, transpose_a=True)
    # XLA's product for a CPU takes twice as long if the result has more rows than
    # columns. It would swap the two back, but for a maximum that changes nothing.
    turned = tf.matmul(outer, rows, transpose_a=True)
    return tf.transpose(tf.maximum(turned, turned.dtype.as_numpy_dtype("-inf")))
