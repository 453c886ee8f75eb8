"""Running moments of what was seen, and the layer that standardises with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf


class Sums(NamedTuple):
    """What one batch adds to running moments; sums of several replicas add up.

    Attributes:
        count: Scalar, number of rows.
        deviation: `[...]`, sum of `x − m`, where `m` is the running mean.
        square: `[...]`, sum of `(x − m)²`.
    """

    count: Any
    deviation: Any
    square: Any


@keras.saving.register_keras_serializable(package="kpg")
class RunningNormalization(keras.layers.Layer):
    """Standardises inputs with the mean and variance of everything seen in training.

    `y = clip((x − mean) / √(variance + 1e-8), −10, 10)`. The moments are weights
    that no gradient touches and that calling the layer never changes: only `merge`
    does, which trainers call. A layer that has merged nothing yet is the identity.

    Reference: Chan, Golub and LeVeque (1983), "Algorithms for computing the sample
    variance", for the merge; Andrychowicz et al. (2021),
    https://arxiv.org/abs/2006.05990, for the effect.

    Args:
        feature_shape: Shape of one row, `()` for scalars.
        clip: Bound of the standardised values. Defaults to 10.
    """

    def __init__(
        self, feature_shape: Sequence[int], clip: float = 10.0, **kwargs: Any
    ) -> None:
        super().__init__(trainable=False, **kwargs)
        self.feature_shape = tuple(feature_shape)
        self.clip = clip
        self.mean = self._moment("mean", self.feature_shape, "zeros")
        self.variance = self._moment("variance", self.feature_shape, "ones")
        self.count = self._moment("count", (), "zeros")
        self.built = True

    def _moment(self, name: str, shape: tuple[int, ...], initializer: str) -> Any:
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            dtype="float32",
            trainable=False,
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Standardises `[..., *feature_shape]` inputs."""
        bound = tf.where(self.count > 0.0, self.clip, float("inf"))
        outputs = (inputs - self.mean) * self.inverse_deviation()
        return tf.clip_by_value(outputs, -bound, bound)

    def inverse_deviation(self) -> tf.Tensor:
        """Returns `[*feature_shape]`, one over the running standard deviation."""
        return tf.math.rsqrt(tf.convert_to_tensor(self.variance) + 1e-8)

    def sums(self, rows: tf.Tensor, valid: tf.Tensor | None = None) -> Sums:
        """Sums up a batch, around the running mean so that nothing cancels.

        Args:
            rows: `[N, *feature_shape]`.
            valid: `[N]` bool, rows to count. Defaults to all.

        Returns:
            What `merge` takes.
        """
        rows = tf.cast(rows, tf.float32) - self.mean
        if valid is None:
            count = tf.cast(tf.shape(rows)[0], tf.float32)
        else:
            shape = [-1] + [1] * len(self.feature_shape)
            rows = tf.where(tf.reshape(valid, shape), rows, 0.0)
            count = tf.reduce_sum(tf.cast(valid, tf.float32))
        return Sums(count, tf.reduce_sum(rows, 0), tf.reduce_sum(tf.square(rows), 0))

    def merge(self, sums: Sums, enabled: tf.Tensor | bool = True) -> None:
        """Merges a batch into the running moments.

        The result does not depend on how the rows were split into batches.

        Args:
            sums: Sums over the batch (over all replicas of it).
            enabled: Scalar bool; `False` leaves the moments as they are.
        """
        old = tf.convert_to_tensor(self.count)
        total = old + sums.count
        safe = tf.maximum(total, 1.0)
        shift = sums.deviation / safe
        squares = self.variance * old + sums.square - shift * sums.deviation
        changed = tf.logical_and(enabled, sums.count > 0.0)
        self.mean.assign(tf.where(changed, self.mean + shift, self.mean))
        self.variance.assign(
            tf.where(changed, tf.maximum(squares / safe, 0.0), self.variance)
        )
        self.count.assign(tf.where(changed, total, old))

    def get_config(self) -> dict[str, Any]:
        """See `keras.layers.Layer.get_config`."""
        config = super().get_config()
        config.pop("trainable")
        return {
            **config,
            "feature_shape": list(self.feature_shape),
            "clip": self.clip,
        }
