"""Plausible observations of a space, to verify and warm up an export with."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from kpg.types import Array, Space


def plausible(space: Space, rows: int, rng: np.random.Generator) -> Array:
    """Draws `[rows, *shape]` of a plain space; of a `Text`, `[rows]` strings in UTF-8.

    Uniform where the space is bounded, else normal. `space.sample()` will not do: it
    overflows a layer if bounds say "any float", and changes the space's generator.
    """
    if isinstance(space, gym.spaces.Text):
        return _texts(space, rows, rng)
    shape = (rows, *(space.shape or ()))
    if isinstance(space, gym.spaces.Discrete):
        drawn = space.start + rng.integers(space.n, size=shape)
    elif isinstance(space, gym.spaces.MultiDiscrete):
        drawn = space.start + rng.integers(space.nvec, size=shape)
    elif isinstance(space, gym.spaces.Box):
        drawn = _numbers(space, shape, rng)
    else:
        drawn = rng.integers(2, size=shape)
    return np.asarray(drawn).astype(space.dtype)


def _numbers(
    space: gym.spaces.Box, shape: tuple[int, ...], rng: np.random.Generator
) -> Array:
    low, high = (np.asarray(b, np.float64) for b in (space.low, space.high))
    with np.errstate(over="ignore"):
        bounded = high - low < 1e6
    floor, ceiling = np.where(bounded, low, 0.0), np.where(bounded, high, 0.0)
    uniform = floor + rng.random(shape) * (ceiling - floor)
    normal = np.clip(rng.normal(size=shape), low, high)
    return np.asarray(np.where(bounded, uniform, normal))


def _texts(space: gym.spaces.Text, rows: int, rng: np.random.Generator) -> Array:
    characters = sorted(space.character_set)
    texts = np.empty(rows, object)
    for row in range(rows):
        length = rng.integers(space.min_length, space.max_length, endpoint=True)
        chosen = rng.integers(len(characters), size=length)
        texts[row] = "".join(characters[i] for i in chosen).encode()
    return texts
