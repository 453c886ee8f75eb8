"""Made-up observations: what an export is verified and warmed up with."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from kpg.export.wire import tensors


def plausible(
    space: gym.Space[Any], rows: int, rng: np.random.Generator
) -> tensors.Array:
    """Draws observations of a space that is no `Dict` or `Tuple`.

    Uniform where the space is bounded, normal where it is not. `space.sample()` is of
    no use here: bounds that only say "any float" make it return numbers that overflow
    in the first layer, and it would change the generator of somebody else's space.

    Args:
        space: Space of one observation.
        rows: How many to draw, ≥ 0.
        rng: Source of randomness.

    Returns:
        `[rows, *shape]` in the data type of the space; for a `Text`, `[rows]` strings
        in UTF-8.
    """
    if isinstance(space, gym.spaces.Text):
        return _texts(space, rows, rng)
    shape = (rows, *(space.shape or ()))
    if isinstance(space, gym.spaces.Discrete):
        drawn = space.start + rng.integers(space.n, size=shape)
    elif isinstance(space, gym.spaces.MultiDiscrete):
        drawn = space.start + rng.integers(space.nvec, size=shape)
    elif isinstance(space, gym.spaces.MultiBinary):
        drawn = rng.integers(2, size=shape)
    else:
        drawn = _numbers(space, shape, rng)
    return np.asarray(drawn).astype(space.dtype)


def _numbers(
    space: Any, shape: tuple[int, ...], rng: np.random.Generator
) -> tensors.Array:
    low, high = (np.asarray(b, np.float64) for b in (space.low, space.high))
    with np.errstate(over="ignore"):
        bounded = high - low < 1e6
    floor, ceiling = np.where(bounded, low, 0.0), np.where(bounded, high, 0.0)
    uniform = floor + rng.random(shape) * (ceiling - floor)
    normal = np.clip(rng.normal(size=shape), low, high)
    return np.asarray(np.where(bounded, uniform, normal))


def _texts(
    space: gym.spaces.Text, rows: int, rng: np.random.Generator
) -> tensors.Array:
    characters = sorted(space.character_set)
    texts = np.empty(rows, object)
    for row in range(rows):
        length = rng.integers(space.min_length, space.max_length, endpoint=True)
        text = "".join(
            characters[i] for i in rng.integers(len(characters), size=length)
        )
        texts[row] = text.encode()
    return texts
