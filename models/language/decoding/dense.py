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
    rows, kernel = tf.reshape(inputs, [-1, width]), tf.reshape(kernel, [width, -1])
    known = isinstance(batch_size, int) and isinstance(length, int)
    many = known and batch_size * length >= _MANY
    narrows = many and width > kernel.shape[1]
    outputs = _narrowed(rows, kernel) if narrows else tf.matmul(rows, kernel)
    return tf.reshape(outputs, [batch_size, length, *others])


@with_gradient
def _narrowed(
    rows: Tensor, kernel: Tensor
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """Returns `[N, M]`, rows `[N, K]` times a kernel `[K, M]`, M less than K.

    XLA's product for a CPU takes twice as long if the result has more rows than
    columns, as the kernel's gradient would have.
    """

    def backward(outer: Tensor) -> tuple[Tensor, Tensor]:
        turned = tf.matmul(outer, rows, transpose_a=True)
        # XLA would swap the two back, but for a maximum that changes nothing.
        kept = tf.maximum(turned, turned.dtype.as_numpy_dtype("-inf"))
        return tf.matmul(outer, kernel, transpose_b=True), tf.transpose(kept)

    return tf.matmul(rows, kernel), backward
