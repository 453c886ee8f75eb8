"""Networks between an observation and a head."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import keras
import numpy as np


def mlp(
    hidden_units: Sequence[int] = (64, 64),
    activation: str = "tanh",
    seed: int | None = None,
) -> keras.Sequential:
    """Dense layers with orthogonal weights of gain √2 and zero biases.

    Reference: Huang et al. (2022), "The 37 implementation details of PPO", detail 2.

    Args:
        hidden_units: Width of each layer. Defaults to `(64, 64)`.
        activation: Keras activation of each layer. Defaults to `"tanh"`.
        seed: Seed of the weights. Defaults to a random one.

    Returns:
        A `keras.Sequential` from `[B, ...]`, which it flattens, to `[B, width]`.

    Raises:
        ValueError: If a width is not a positive integer.
    """
    if any(not isinstance(units, int) or units < 1 for units in hidden_units):
        raise ValueError(
            "`hidden_units` must be positive integers, one for each layer. "
            f"Received: hidden_units={hidden_units!r}"
        )
    seeds = layer_seeds(seed)
    layers: list[keras.layers.Layer] = [keras.layers.Flatten()]
    for units in hidden_units:
        initializer = orthogonal(math.sqrt(2.0), next(seeds))
        layers.append(
            keras.layers.Dense(units, activation, kernel_initializer=initializer)
        )
    return keras.Sequential(layers)


def orthogonal(gain: float, seed: int | None) -> keras.initializers.Initializer:
    """Returns Keras's orthogonal initializer with a gain."""
    return keras.initializers.Orthogonal(gain, seed=seed)


def layer_seeds(seed: int | None, stream: str = "") -> Iterator[int | None]:
    """Yields a seed for each layer in turn; `None` for ever if `seed` is `None`.

    Layers of one shape that share a seed would begin with the same weights.

    Args:
        seed: The seed that all of them come from.
        stream: Name of an independent sequence of seeds. Defaults to `""`.
    """
    if seed is None:
        while True:
            yield None
    random = np.random.default_rng([seed, *stream.encode()])
    while True:
        yield int(random.integers(2**31 - 1))
