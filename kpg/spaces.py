"""Gymnasium's spaces as plain data: a saved model knows what it was made for."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

Config = dict[str, Any]


def to_config(space: gym.Space[Any]) -> Config:
    """Describes a space with values that JSON can hold.

    Args:
        space: A Gymnasium `Box` or `Discrete`.

    Returns:
        A dictionary that `from_config` turns back into an equal space.

    Raises:
        ValueError: If the space is of another kind.
    """
    if isinstance(space, gym.spaces.Box):
        return {
            "kind": "Box",
            "low": _to_list(space.low),
            "high": _to_list(space.high),
            "shape": list(space.shape),
            "dtype": np.dtype(space.dtype).name,
        }
    if isinstance(space, gym.spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
    raise ValueError(
        "kpg handles Box and Discrete spaces; wrap the environment so that its space "
        f"becomes one of them. Received: {space!r}"
    )


def from_config(config: Config) -> gym.Space[Any]:
    """Makes the space that `to_config` described.

    Args:
        config: What `to_config` returned, possibly after a round trip through JSON.

    Returns:
        The Gymnasium space.

    Raises:
        ValueError: If `config` does not describe a space.
    """
    kind = config.get("kind")
    if kind == "Box":
        dtype = np.dtype(config["dtype"])
        shape = tuple(config["shape"])
        return gym.spaces.Box(
            low=_from_list(config["low"], dtype).reshape(shape),
            high=_from_list(config["high"], dtype).reshape(shape),
            dtype=dtype.type,
        )
    if kind == "Discrete":
        return gym.spaces.Discrete(config["n"], start=config["start"])
    raise ValueError(
        "A space's configuration must have a `kind` of 'Box' or 'Discrete'; make it "
        f"with `kpg.spaces.to_config`. Received: kind={kind!r}"
    )


def _to_list(bounds: np.ndarray[Any, Any]) -> list[Any]:
    """Flattens bounds; an infinity becomes a word, since JSON has no number for it."""
    values = bounds.reshape(-1).tolist()
    return [value if np.isfinite(value) else str(value) for value in values]


def _from_list(values: list[Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Reads what `_to_list` wrote."""
    numbers = [float(value) if isinstance(value, str) else value for value in values]
    return np.asarray(numbers, dtype)


def check_box(space: gym.Space[Any], role: str) -> gym.spaces.Box:
    """Returns `space` if it is a `Box`, and says what to do if it is not.

    Args:
        space: Any Gymnasium space.
        role: What the space is for, such as "observation", for the error's text.

    Raises:
        ValueError: If `space` is not a `Box`.
    """
    if isinstance(space, gym.spaces.Box):
        return space
    raise ValueError(
        f"The {role} space must be a gymnasium.spaces.Box; wrap the environment, for "
        f"example with gymnasium.wrappers.FlattenObservation. Received: {space!r}"
    )
