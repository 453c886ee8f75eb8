"""Checks of static shapes, made while the graph is built: they cost no operation."""

from __future__ import annotations

import tensorflow as tf


def assert_same_shape(**tensors: tf.Tensor) -> None:
    """Refuses tensors that TensorFlow would silently broadcast against each other.

    `[8, 4] * [8, 1]` multiplies without a complaint and is almost never meant.

    Args:
        **tensors: Tensors by the names under which the caller knows them. An unknown
            dimension (`None`) fits every size, as `TensorShape` defines it.

    Raises:
        ValueError: If two of the static shapes differ.
    """
    first, *others = tensors.items()
    for name, tensor in others:
        try:
            tensor.shape.assert_is_compatible_with(first[1].shape)
        except ValueError as error:
            raise ValueError(
                f"`{name}` must have the shape of `{first[0]}`, element by element: "
                "nothing is broadcast. Received: "
                f"{first[0]}.shape={first[1].shape}, {name}.shape={tensor.shape}. "
                "Squeeze or expand the axis that is too many or too few."
            ) from error
