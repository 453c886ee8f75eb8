"""Running moments of all inputs, and the layer that standardises with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf
from typing_extensions import Unpack

from kpg.types import Config, LayerArguments


class Sums(NamedTuple):
    """Rows of a batch, and their summed deviation `[...]` from the running mean."""

    count: tf.Tensor
    deviation: tf.Tensor


@keras.saving.register_keras_serializable(package="kpg")
class RunningNormalization(keras.layers.Layer):
    """Standardises inputs with the mean and variance of all inputs in training.

    `y = clip((x − mean) / √(variance + 1e-8), −clip, clip)`. The moments are weights
    that only `update` and `merge` change, which trainers call. A new layer is the
    identity. The sums of several replicas add up.

    References: Chan, Golub and LeVeque (1983), "Algorithms for computing the sample
    variance"; for the effect Andrychowicz et al. (2021), arXiv:2006.05990.

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
        shape = self.feature_shape
        options = {"dtype": "float32", "trainable": False, "autocast": False}
        self.mean = self.add_weight(shape, "zeros", name="mean", **options)
        self.variance = self.add_weight(shape, "ones", name="variance", **options)
        self.count = self.add_weight((), "zeros", name="count", **options)
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Standardises `[..., *feature_shape]` inputs."""
        bound = tf.where(self.count > 0.0, self.clip, float("inf"))
        outputs = (tf.cast(inputs, tf.float32) - self.mean) * self.inverse_deviation()
        return tf.clip_by_value(outputs, -bound, bound)

    def inverse_deviation(self) -> tf.Tensor:
        """Returns `1 / √(variance + 1e-8)`, `[*feature_shape]`."""
        return tf.math.rsqrt(tf.convert_to_tensor(self.variance) + 1e-8)

    def sums(self, rows: tf.Tensor, valid: tf.Tensor | None = None) -> Sums:
        """Sums over rows `[N, *feature_shape]`, the first of two passes over a batch.

        Only the `valid` ones, `[N]` bool, count. Defaults to all.
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

        Around another point, squares of a distant batch would lose their digits. `sums`
        are over all replicas; the result is `[*feature_shape]`.
        """
        center = self.mean + sums.deviation / tf.maximum(sums.count, 1.0)
        return tf.reduce_sum(tf.square(self._deviations(rows, center, valid)), axis=0)

    def merge(
        self, sums: Sums, squares: tf.Tensor, enabled: tf.Tensor | bool = True
    ) -> None:
        """Merges what `sums` and `squares` returned, over all replicas, if `enabled`.

        The result does not depend on how the rows were split into batches.
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
