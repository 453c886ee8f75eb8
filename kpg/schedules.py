"""Schedules: factors by which settings change during training."""

from __future__ import annotations

import tensorflow as tf

from kpg import checks

SCHEDULES = ("constant", "linear")


def factor(name: str, progress: float | tf.Tensor) -> tf.Tensor:
    """Returns the factor of a scheduled setting.

    "constant" is 1 throughout; "linear" is 1 − `progress`, 1 at the start and 0 at the
    end.

    Args:
        name: One of `SCHEDULES`.
        progress: Fraction of the training that is done, in [0, 1]; numbers outside are
            clipped.

    Returns:
        float32 tensor of the shape of `progress`, in [0, 1].

    Raises:
        ValueError: If the schedule is unknown.
    """
    checks.choice("schedule", name, SCHEDULES)
    progress = tf.convert_to_tensor(progress, tf.float32)
    if name == "constant":
        return tf.ones_like(progress)
    return 1.0 - tf.clip_by_value(progress, 0.0, 1.0)
