"""Running moments of all inputs, and the layer that standardises with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf
from typing_extensions import Unpack

from kpg.types import Config, LayerArguments


class Sums(NamedTuple):
    """Rows of a batch, and their summed deviation `[...]` from the running mean.

    It has the dtype of the mean.
    """

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
        precise: Whether the mean is kept and subtracted in float64, for inputs whose
            differences float32 does not show. Defaults to `False`.
    """

    def __init__(
        self,
        feature_shape: Sequence[int],
        clip: float = 10.0,
        precise: bool = False,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.trainable = False
        self.feature_shape = tuple(feature_shape)
        self.clip = clip
        shape = self.feature_shape
        self.precise = precise
        self._wide = tf.float64 if precise else tf.float32
        options = {"dtype": "float32", "trainable": False, "autocast": False}
        wide = {**options, "dtype": self._wide.name}
        self.mean = self.add_weight(shape, "zeros", name="mean", **wide)
        self.variance = self.add_weight(shape, "ones", name="variance", **options)
        self.count = self.add_weight((), "zeros", name="count", **options)
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Standardises `[..., *feature_shape]` inputs."""
        bound = tf.where(self.count > 0.0, self.clip, float("inf"))
        deviations = tf.cast(tf.cast(inputs, self._wide) - self.mean, tf.float32)
        outputs = deviations * self.inverse_deviation()
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
        center = self.mean + self._shift(sums)
        deviations = tf.cast(self._deviations(rows, center, valid), tf.float32)
        return tf.reduce_sum(tf.square(deviations), axis=0)

    def merge(
        self, sums: Sums, squares: tf.Tensor, enabled: tf.Tensor | bool = True
    ) -> None:
        """Merges what `sums` and `squares` returned, over all replicas, if `enabled`.

        The result does not depend on how the rows were split into batches. Rows whose
        squares float32 cannot hold change nothing: `call` clips them.
        """
        old = tf.convert_to_tensor(self.count)
        total = old + sums.count
        safe = tf.maximum(total, 1.0)
        shift = self._shift(sums)
        squares = squares + self.variance * old
        squares += tf.square(tf.cast(shift, tf.float32)) * old * sums.count / safe
        count, total_count = (tf.cast(n, self._wide) for n in (sums.count, safe))
        mean = self.mean + shift * count / total_count
        variance = squares / safe
        changed = tf.logical_and(enabled, sums.count > 0.0)
        changed &= tf.reduce_all(tf.math.is_finite(variance))
        self.mean.assign(tf.where(changed, mean, self.mean))
        self.variance.assign(tf.where(changed, variance, self.variance))
        self.count.assign(tf.where(changed, total, old))

    def update(self, rows: tf.Tensor, valid: tf.Tensor | None = None) -> None:
        """Merges a batch that one replica holds; see `sums`."""
        sums = self.sums(rows, valid)
        self.merge(sums, self.squares(rows, sums, valid))

    def _shift(self, sums: Sums) -> tf.Tensor:
        """Returns how far a batch's mean is from the running one."""
        return sums.deviation / tf.cast(tf.maximum(sums.count, 1.0), self._wide)

    def _deviations(
        self, rows: tf.Tensor, center: tf.Tensor, valid: tf.Tensor | None
    ) -> tf.Tensor:
        deviations = tf.cast(rows, self._wide) - center
        if valid is None:
            return deviations
        shape = [-1] + [1] * len(self.feature_shape)
        valid = tf.reshape(valid, shape)
        return tf.where(valid, deviations, tf.zeros_like(deviations))

    def get_config(self) -> Config:
        """Returns what `from_config` makes an equal object of."""
        shape = list(self.feature_shape)
        own = {"feature_shape": shape, "clip": self.clip, "precise": self.precise}
        return {**super().get_config(), **own}
