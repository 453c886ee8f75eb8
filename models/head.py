"""The last layer of every model of observations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from kpg.graph.compiling import for_xla

# Up to here sums take XLA a half to a third of the time of a product, on a CPU.
_NARROW = 4


@keras.saving.register_keras_serializable(package="kpg")
class Head(keras.layers.Dense):
    """A dense layer that is quick with few outputs, too.

    XLA computes the gradient of a kernel as the product of a transposed matrix with
    another one, which on a CPU takes as long for 2 columns as for 12. Two to four are
    summed up instead, with the same result.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """See `keras.layers.Dense`."""
        narrow = for_xla() and 2 <= self.units <= _NARROW and inputs.shape.rank == 2
        if not narrow or self.compute_dtype != "float32":
            return super().call(inputs, training=training)
        return _product(inputs, tf.convert_to_tensor(self.kernel)) + self.bias


@tf.custom_gradient
def _product(
    features: tf.Tensor, kernel: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[Any, Any]]]:
    """Returns `[B, units]`, and its gradient."""

    def gradient(upstream: tf.Tensor) -> tuple[Any, Any]:
        products = features[:, :, tf.newaxis] * upstream[:, tf.newaxis, :]
        return (
            tf.matmul(upstream, kernel, transpose_b=True),
            tf.reduce_sum(products, axis=0),
        )

    return tf.matmul(features, kernel), gradient
