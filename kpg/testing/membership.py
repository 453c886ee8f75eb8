"""Whether an observation is in its space, and if not, why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import gymnasium as gym
import numpy as np
import tensorflow as tf

from kpg.testing.finding import Finding
from kpg.types import Nest, Space

# Of the bounds: in-graph environments round to float32.
_TOLERANCE = 1e-5


def findings(space: Space, observation: Nest, where: str = "") -> Iterator[Finding]:
    """Yields what is wrong with an observation; `where` is its place in a nest."""
    if isinstance(space, gym.spaces.Dict):
        if not isinstance(observation, Mapping) or {*observation} != {*space.spaces}:
            yield _structure(f"a dictionary with {sorted(space.spaces)}", observation)
            return
        for key, part in space.spaces.items():
            yield from findings(part, observation[key], f"{where}[{key!r}]")
    elif isinstance(space, gym.spaces.Tuple):
        sized = isinstance(observation, (tuple, list))
        if not sized or len(observation) != len(space.spaces):
            yield _structure(f"a tuple of {len(space.spaces)}", observation)
            return
        for index, part in enumerate(space.spaces):
            yield from findings(part, observation[index], f"{where}[{index}]")
    elif finding := _leaf(space, observation, where):
        yield finding


def _leaf(space: Space, observation: Nest, where: str) -> Finding | None:
    """Checks shape, dtype, NaN and bounds in this order: the first tells most."""
    if isinstance(space, gym.spaces.Text):
        if isinstance(observation, str):
            return None if space.contains(observation) else _outside(space, where, "")
        # In the graph a text is the ids of its characters; see `kpg.spaces`.
        ids = 1 + len(space.character_set)
        space = gym.spaces.MultiDiscrete([ids] * space.max_length)
    array = np.asarray(observation)
    if array.shape != space.shape:
        return Finding(
            "observation_shape",
            f"observation{where} has the shape {array.shape}, but its space says "
            f"{space.shape}. Change one of them.",
        )
    kinds = "iub" if isinstance(space, gym.spaces.MultiBinary) else "iu"
    fits = array.dtype.kind in kinds
    if isinstance(space, gym.spaces.Box):
        fits = np.can_cast(array.dtype, space.dtype)
    if not fits:
        return Finding(
            "observation_dtype",
            f"observation{where} is {array.dtype}, but its space says {space.dtype}. "
            f"Return `observation.astype(np.{np.dtype(space.dtype)})`, or declare it.",
        )
    if (
        array.dtype.kind == "f"
        and not (np.abs(array) <= np.finfo(np.float32).max).all()
    ):
        return Finding(
            "non_finite_observations",
            f"observation{where} holds nan, or what is inf in float32. One turns every "
            "weight into nan: look for a division by zero, or a simulation that "
            "explodes.",
        )
    if isinstance(space, gym.spaces.Box):
        slack = _TOLERANCE * np.maximum(1.0, np.abs(array))
        if (array < space.low - slack).any() or (array > space.high + slack).any():
            return _outside(space, where, f"{array.min():g} … {array.max():g}")
        return None
    member = array.astype(space.dtype)
    number = member[()] if member.ndim == 0 else member
    return None if space.contains(number) else _outside(space, where, f"{member}")


def _structure(wanted: str, observation: Nest) -> Finding:
    keys = sorted(observation, key=str) if isinstance(observation, Mapping) else ""
    return Finding(
        "observation_shape",
        f"The observation must be {wanted}, as its space says, but it is "
        f"{type(observation).__name__} {keys}. Change one of them.",
    )


def _outside(space: Space, where: str, values: str) -> Finding:
    seen = f", it is {values}" if values else ""
    return Finding(
        "observation_bounds",
        f"observation{where} lies outside {space}{seen}. Clip it, or declare the "
        "bounds that it has; `-np.inf` and `np.inf` are bounds too.",
    )


def same(left: Nest, right: Nest, tolerance: float = 0.0) -> bool:
    """Returns whether two nests are equal, NaN included, floats within `tolerance`."""

    def equal(one: Nest, other: Nest) -> bool:
        one, other = np.asarray(one), np.asarray(other)
        if one.dtype.kind != "f" or one.shape != other.shape:
            return np.array_equal(one, other)
        return np.allclose(one, other, tolerance, tolerance, equal_nan=True)

    lefts, rights = tf.nest.flatten(left), tf.nest.flatten(right)
    return len(lefts) == len(rights) and all(map(equal, lefts, rights))
