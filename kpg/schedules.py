"""Schedules: factors by which settings change during training."""

from __future__ import annotations

import tensorflow as tf

from kpg import checks

SCHEDULES = ("constant", "linear")


def factor(name: str, progress: float | tf.Tensor) -> tf.Tensor:
    """Returns the factor of a scheduled setting, float32 in [0, 1].

    "constant" is 1 throughout, "linear" is 1 − `progress`, from 1 down to 0.
    `progress`, of any shape, is the fraction of the training that is done, clipped to
    [0, 1]. Raises a `ValueError` for an unknown schedule.
    """
    checks.choice("schedule", name, SCHEDULES)
    progress = tf.convert_to_tensor(progress, tf.float32)
    if name == "constant":
        return tf.ones_like(progress)
    return 1.0 - tf.clip_by_value(progress, 0.0, 1.0)
