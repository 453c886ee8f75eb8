"""Checks of static shapes, which add no operations to the graph."""

from __future__ import annotations

import tensorflow as tf


def assert_same_shape(**tensors: tf.Tensor) -> None:
    """Raises a `ValueError` for tensors that TensorFlow would silently broadcast.

    An unknown dimension (`None`) fits every size. The names are for the message.
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
