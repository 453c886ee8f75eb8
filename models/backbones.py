"""Networks between an observation and a head."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from kpg import checks

SMALLEST_IMAGE = 8

# The smallest side they are for, then kernel and stride of each convolution.
_CONVOLUTIONS = (
    (36, ((8, 4), (4, 2), (3, 1))),
    (16, ((4, 2), (3, 2), (3, 1))),
    (SMALLEST_IMAGE, ((4, 2), (2, 1), (2, 1))),
)


def mlp(
    hidden_units: Sequence[int] = (64, 64),
    activation: str = "tanh",
    seed: int | None = None,
) -> keras.Sequential:
    """Dense layers with orthogonal weights of gain √2 and zero biases.

    Reference: Huang et al. (2022), "The 37 implementation details of PPO", detail 2.

    Args:
        hidden_units: Width of each layer, ≥ 1. Defaults to `(64, 64)`.
        activation: Keras activation of each layer. Defaults to `"tanh"`.
        seed: Seed of the weights. Defaults to a random one.

    Returns:
        A `keras.Sequential` from `[B, ...]`, which it flattens, to `[B, width]`.
    """
    starts = _initializers(seed)
    layers: list[keras.layers.Layer] = [keras.layers.Flatten()]
    for units in checks.whole_numbers("hidden_units", hidden_units):
        dense = keras.layers.Dense(units, activation, kernel_initializer=next(starts))
        layers.append(dense)
    return keras.Sequential(layers)


def cnn(
    image_shape: Sequence[int], units: int = 512, seed: int | None = None
) -> keras.Sequential:
    """The convolutional network of Atari's DQN, shrunk for small images.

    Three convolutions with 32, 64 and 64 filters and a dense layer, all with ReLU and
    orthogonal weights of gain √2. From 36 pixels on, kernels and strides are those of
    Mnih et al. (2015), https://doi.org/10.1038/nature14236; below that they are less.

    Args:
        image_shape: `[height, width, channels]`, or `[channels, height, width]` if the
            first axis is smaller than the last; at least 8 × 8 pixels.
        units: Width of the dense layer. Defaults to 512.
        seed: Seed of the weights. Defaults to a random one.

    Returns:
        A `keras.Sequential` from float `[B, *image_shape]`, with values around 1, to
        `[B, units]`.

    Raises:
        ValueError: If the shape is not that of such an image.
    """
    side = smallest_side(image_shape)
    if side < SMALLEST_IMAGE:
        raise ValueError(
            f"Images must have at least {SMALLEST_IMAGE} by {SMALLEST_IMAGE} pixels "
            "and channels: [height, width, channels]. Received: "
            f"image_shape={tuple(image_shape)}"
        )
    starts = _initializers(seed)
    units = checks.whole_number("units", units)
    layers: list[keras.layers.Layer] = [keras.Input(image_shape)]
    if _channels_first(image_shape):
        layers.append(keras.layers.Permute((2, 3, 1)))
    _, convolutions = next(row for row in _CONVOLUTIONS if side >= row[0])
    options = {"data_format": "channels_last", "activation": "relu"}
    layers += [
        keras.layers.Conv2D(
            filters, kernel, stride, kernel_initializer=next(starts), **options
        )
        for filters, (kernel, stride) in zip((32, 64, 64), convolutions, strict=True)
    ]
    dense = keras.layers.Dense(units, "relu", kernel_initializer=next(starts))
    return keras.Sequential([*layers, keras.layers.Flatten(), dense])


def smallest_side(image_shape: Sequence[int]) -> int:
    """Returns the pixels along an image's shorter side, 0 if it is not of rank 3."""
    if len(image_shape) != 3:
        return 0
    return min(image_shape[1:] if _channels_first(image_shape) else image_shape[:-1])


def _channels_first(image_shape: Sequence[int]) -> bool:
    return image_shape[0] < image_shape[-1]


def _initializers(seed: int | None) -> Iterator[keras.initializers.Initializer]:
    """Yields the initializer of each layer in turn: orthogonal, of gain √2."""
    for own in layer_seeds(seed):
        yield keras.initializers.Orthogonal(math.sqrt(2.0), seed=own)


def layer_seeds(seed: int | None, stream: str = "") -> Iterator[int | None]:
    """Yields a seed for each layer in turn, or always `None` if `seed` is `None`.

    With one seed, layers of one shape would start equal. Each `stream` is independent.
    """
    if seed is None:
        while True:
            yield None
    random = np.random.default_rng([seed, *stream.encode()])
    while True:
        yield int(random.integers(2**31 - 1))
