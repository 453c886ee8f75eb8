"""Networks between an observation and a head."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from kpg import checks

SMALLEST_IMAGE = 8
CHANNELS = ("auto", "first", "last", "none", "legacy")

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
    flatten: bool = True,
) -> keras.Sequential:
    """Dense layers with orthogonal weights of gain √2 and zero biases.

    Reference: Huang et al. (2022), "The 37 implementation details of PPO", detail 2.

    Args:
        hidden_units: Width of each layer, ≥ 1. Defaults to `(64, 64)`.
        activation: Keras activation of each layer. Defaults to `"tanh"`.
        seed: Seed of the weights. Defaults to a random one.
        flatten: `False` for inputs of two axes, where flattening only takes time.

    Returns:
        A `keras.Sequential` from `[B, ...]`, which it flattens, to `[B, width]`.
    """
    starts = _initializers(seed)
    each = checks.whole_numbers("hidden_units", hidden_units)
    flattens = flatten or not each  # a Sequential needs a layer
    layers: list[keras.layers.Layer] = [keras.layers.Flatten()] if flattens else []
    for units in each:
        dense = keras.layers.Dense(units, activation, kernel_initializer=next(starts))
        layers.append(dense)
    return keras.Sequential(layers)


def cnn(
    image_shape: Sequence[int],
    units: int = 512,
    seed: int | None = None,
    channels: str = "auto",
) -> keras.Sequential:
    """The convolutional network of Atari's DQN, shrunk for small images.

    Three convolutions with 32, 64 and 64 filters and a dense layer, all with ReLU and
    orthogonal weights of gain √2. From 36 pixels on, kernels and strides are those of
    Mnih et al. (2015), https://doi.org/10.1038/nature14236; below that they are less.

    Args:
        image_shape: `[height, width]`, with the channels before or behind them, or
            `[frames, …]` of such images, at least 8 × 8 pixels.
        units: Width of the dense layer. Defaults to 512.
        seed: Seed of the weights. Defaults to a random one.
        channels: "first" or "last", where they are. Defaults to "auto", which tells by
            the shape: not one of two axes that are equal, else first if there are half
            as many as pixels along each side, and otherwise last.

    Returns:
        A `keras.Sequential` from float `[B, *image_shape]`, with values around 1, to
        `[B, units]`.

    Raises:
        ValueError: If the shape is not that of such an image.
    """
    axes = image_axes(image_shape, channels)
    if axes is None:
        raise ValueError(
            f"Images must have at least {SMALLEST_IMAGE} by {SMALLEST_IMAGE} pixels: "
            "[height, width], perhaps with channels and frames. Received: "
            f"image_shape={tuple(image_shape)}, channels={channels!r}"
        )
    starts = _initializers(seed)
    units = checks.whole_number("units", units)
    layers: list[keras.layers.Layer] = [keras.Input(image_shape)]
    if [*axes] != sorted(axes):
        layers.append(keras.layers.Permute([axis + 1 for axis in axes]))
    height, width, *planes = (image_shape[axis] for axis in axes)
    if len(planes) != 1:
        layers.append(keras.layers.Reshape((height, width, math.prod(planes))))
    side = min(height, width)
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


def image_axes(shape: Sequence[int], channels: str = "auto") -> list[int] | None:
    """Returns the axes of height, width, and then frames and channels, if any.

    `None` is for what is no image of at least 8 × 8 pixels. `channels` is as in `cnn`;
    "none" says that nothing is an image, and "legacy" reads images as versions before
    this argument did: of rank 3, first if the first axis is smaller than the last.
    """
    checks.choice("channels", channels, CHANNELS)
    if channels == "none" or not 2 <= len(shape) <= (3 if channels == "legacy" else 4):
        return None
    if len(shape) == 4:
        inner = image_axes(shape[1:], channels)
        if inner is not None:
            return [inner[0] + 1, inner[1] + 1, 0, *(axis + 1 for axis in inner[2:])]
        orders = [[0, 1, 2, 3]]
    elif len(shape) == 2:
        orders = [[0, 1]] if channels != "legacy" else []
    else:
        named = {"first": [1, 2, 0], "last": [0, 1, 2]}
        guess = _told_by_shape(shape, channels)
        orders = [named[guess]]
        if channels == "auto":
            orders += named.values()
    sizes = (min(shape[axis] for axis in order[:2]) for order in orders)
    pairs = zip(orders, sizes, strict=True)
    return next((order for order, size in pairs if size >= SMALLEST_IMAGE), None)


def _told_by_shape(shape: Sequence[int], channels: str) -> str:
    first, middle, last = shape
    if channels == "legacy":
        return "first" if first < last else "last"
    if channels != "auto":
        return channels
    if first == middle:
        return "last"
    return "first" if middle == last or 2 * first <= min(middle, last) else "last"


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
