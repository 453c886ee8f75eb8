"""From an action space to its family."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from kpg.distributions.categorical import CategoricalFamily
from kpg.distributions.family import Family
from kpg.distributions.normal import NormalFamily


def for_space(action_space: gym.Space[Any]) -> Family:
    """Returns the family of distributions over an action space.

    Args:
        action_space: A Gymnasium `Discrete`, or a `Box` of floating-point numbers.

    Raises:
        ValueError: If there is no family for the space.
    """
    if isinstance(action_space, gym.spaces.Discrete):
        return CategoricalFamily(action_space)
    if isinstance(action_space, gym.spaces.Box):
        if action_space.dtype is not None and action_space.dtype.kind == "f":
            return NormalFamily(action_space)
    raise ValueError(
        "The action space must be a Discrete or a Box of floating-point numbers; give "
        "the space of one environment (`single_action_space` of a vector environment), "
        f"or wrap the environment. Received: {action_space!r}"
    )
