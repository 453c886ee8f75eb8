"""Running moments of all inputs, and the layer that standardises with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf
from typing_extensions import Unpack

from kpg.types import Config, LayerArguments


class Sums(NamedTuple):
    """What one batch adds to the running moments; replicas' sums add up.

    Attributes:
        count: Scalar, number of rows.
        deviation: `[...]`, sum of `x − m`, where `m` is the running mean.
    """

    count: tf.Tensor
    deviation: tf.Tensor


@keras.saving.register_keras_serializable(package="kpg")
class RunningNormalization(keras.layers.Layer):
    """Standardises inputs with the mean and variance of all inputs in training.

    `y = clip((x − mean) / √(variance + 1e-8), −10, 10)`. The moments are non-trainable
    weights that calling the layer does not change: only `update` and `merge`, which
    trainers call, do. A new layer is the identity.

    Reference: Chan, Golub and LeVeque (1983), "Algorithms for computing the sample
    variance", for the merge; Andrychowicz et al. (2021),
    https://arxiv.org/abs/2006.05990, for the effect.

    Args:
        feature_shape: Shape of one row, `()` for scalars.
        clip: Bound of the standardised values. Defaults to 10.
    """

    def __init__(
        self,
        feature_shape: Sequence[int],
        clip: float = 10.0,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.trainable = False
        self.feature_shape = tuple(feature_shape)
        self.clip = clip
        self.mean = self._moment("mean", self.feature_shape, "zeros")
        self.variance = self._moment("variance", self.feature_shape, "ones")
        self.count = self._moment("count", (), "zeros")
        self.built = True

    def _moment(
        self, name: str, shape: tuple[int, ...], initializer: str
    ) -> keras.Variable:
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            dtype="float32",
            trainable=False,
            autocast=False,
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Standardises `[..., *feature_shape]` inputs."""
        bound = tf.where(self.count > 0.0, self.clip, float("inf"))
        outputs = (tf.cast(inputs, tf.float32) - self.mean) * self.inverse_deviation()
        return tf.clip_by_value(outputs, -bound, bound)

    def inverse_deviation(self) -> tf.Tensor:
        """Returns `[*feature_shape]`, the inverse of the running standard deviation."""
        return tf.math.rsqrt(tf.convert_to_tensor(self.variance) + 1e-8)

    def sums(self, rows: tf.Tensor, valid: tf.Tensor | None = None) -> Sums:
        """Sums over a batch, the first of two passes over it.

        Args:
            rows: `[N, *feature_shape]`.
            valid: `[N]` bool, rows to count. Defaults to all.
        """
        deviations = self._deviations(rows, tf.convert_to_tensor(self.mean), valid)
        if valid is None:
            count = tf.cast(tf.shape(deviations)[0], tf.float32)
        else:
            count = tf.reduce_sum(tf.cast(valid, tf.float32))
        return Sums(count, tf.reduce_sum(deviations, axis=0))

    def squares(
        self, rows: tf.Tensor, sums: Sums, valid: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Sums squared deviations from the batch's own mean, the second pass.

        Around any other point the squares of a distant batch would lose their digits.

        Args:
            rows: `[N, *feature_shape]`.
            sums: From `sums`, over all replicas.
            valid: `[N]` bool, rows to count. Defaults to all.

        Returns:
            `[*feature_shape]`; those of several replicas add up.
        """
        center = self.mean + sums.deviation / tf.maximum(sums.count, 1.0)
        return tf.reduce_sum(tf.square(self._deviations(rows, center, valid)), axis=0)

    def merge(
        self, sums: Sums, squares: tf.Tensor, enabled: tf.Tensor | bool = True
    ) -> None:
        """Merges a batch into the running moments.

        The result does not depend on how the rows were split into batches.

        Args:
            sums: From `sums`, over all replicas.
            squares: From `squares`, over all replicas.
            enabled: Scalar bool; `False` leaves the moments as they are.
        """
        old = tf.convert_to_tensor(self.count)
        total = old + sums.count
        safe = tf.maximum(total, 1.0)
        shift = sums.deviation / tf.maximum(sums.count, 1.0)
        squares = squares + self.variance * old
        squares += tf.square(shift) * old * sums.count / safe
        changed = tf.logical_and(enabled, sums.count > 0.0)
        mean = self.mean + shift * sums.count / safe
        self.mean.assign(tf.where(changed, mean, self.mean))
        self.variance.assign(tf.where(changed, squares / safe, self.variance))
        self.count.assign(tf.where(changed, total, old))

    def update(self, rows: tf.Tensor, valid: tf.Tensor | None = None) -> None:
        """Merges a batch that one replica holds; see `sums`."""
        sums = self.sums(rows, valid)
        self.merge(sums, self.squares(rows, sums, valid))

    def _deviations(
        self, rows: tf.Tensor, center: tf.Tensor, valid: tf.Tensor | None
    ) -> tf.Tensor:
        deviations = tf.cast(rows, tf.float32) - center
        if valid is None:
            return deviations
        shape = [-1] + [1] * len(self.feature_shape)
        return tf.where(tf.reshape(valid, shape), deviations, 0.0)

    def get_config(self) -> Config:
        """Returns what `from_config` makes an equal object of."""
        own = {"feature_shape": list(self.feature_shape), "clip": self.clip}
        return {**super().get_config(), **own}
