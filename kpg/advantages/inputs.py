"""What the estimators ask of their arguments."""

from __future__ import annotations

import tensorflow as tf


def floats(*arrays: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Converts arrays to float32 tensors."""
    return tuple(tf.convert_to_tensor(array, tf.float32) for array in arrays)


def flags(*arrays: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Converts arrays to bool tensors."""
    return tuple(tf.convert_to_tensor(array, tf.bool) for array in arrays)


def check_fractions(**numbers: float) -> None:
    """Refuses Python numbers outside [0, 1]; a tensor's value is not known here."""
    for name, number in numbers.items():
        if not tf.is_tensor(number) and not 0.0 <= number <= 1.0:
            raise ValueError(f"`{name}` must lie in [0, 1]. Received: {name}={number}")


def check_positive(**numbers: float) -> None:
    """Refuses Python numbers that are not positive."""
    for name, number in numbers.items():
        if not tf.is_tensor(number) and not number > 0.0:
            raise ValueError(
                f"`{name}` must be positive. Received: {name}={number}. Give "
                "`math.inf` not to clip."
            )
