"""Checks of static shapes, made while the graph is built: they add no operations."""

from __future__ import annotations

import tensorflow as tf


def assert_same_shape(**tensors: tf.Tensor) -> None:
    """Refuses tensors that TensorFlow would silently broadcast against each other.

    `[8, 4] * [8, 1]` multiplies without complaint and is almost never intended.

    Args:
        **tensors: Tensors by the names that the caller uses. An unknown dimension
            (`None`) fits every size.

    Raises:
        ValueError: If two of the static shapes differ.
    """
    first, *others = tensors.items()
    for name, tensor in others:
        try:
            tensor.shape.assert_is_compatible_with(first[1].shape)
        except ValueError as error:
            raise ValueError(
                f"`{name}` must have the shape of `{first[0]}`: nothing is broadcast. "
                f"Squeeze or expand an axis. Received: {first[0]}.shape="
                f"{first[1].shape}, {name}.shape={tensor.shape}"
            ) from error
