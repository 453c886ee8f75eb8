"""Random actions, legal ones where the environment says which are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf

from kpg import spaces
from kpg.environments.host.masking import choices
from kpg.testing.finding import Finding
from kpg.types import Array, Nest, Space


class Actor:
    """Draws actions from a copy of a space; equal seeds draw alike from equal masks."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space = spaces.from_config(spaces.to_config(space))
        self.space.seed(seed)
        self._rng = np.random.default_rng(seed)

    def choose(self, mask: Array | None) -> Nest:
        """Returns an action, a legal one if `mask` fits a plain discrete space."""
        action = self.space.sample()
        simple = isinstance(self.space, (gym.spaces.Discrete, gym.spaces.MultiDiscrete))
        parts = _parts(self.space, mask)
        if not simple or parts is None or not all(part.any() for part in parts):
            return action
        chosen = [self._rng.choice(np.flatnonzero(part)) for part in parts]
        start = np.ravel(getattr(self.space, "start", 0))
        legal = (np.array(chosen) + start).reshape(np.shape(action))
        legal = legal.astype(self.space.dtype)
        return legal[()] if legal.ndim == 0 else legal


def find_mask(observation: Nest, info: Mapping[str, Any]) -> Array | None:
    """Returns the flat mask in `info` or in a dictionary observation, if any."""
    mask = info.get("action_mask")
    if mask is None and isinstance(observation, Mapping):
        mask = observation.get("action_mask")
    if mask is None:
        return None
    return np.concatenate([np.ravel(part) for part in tf.nest.flatten(mask)])


def without_action(space: Space, mask: Array | None) -> Finding | None:
    """Finds a mask that leaves nothing to choose while the episode goes on."""
    parts = _parts(space, mask)
    if parts is None or all(part.any() for part in parts):
        return None
    return Finding(
        "mask_without_action",
        "The action mask allows no action at all although the episode goes on. Let it "
        f"end there, or allow an action that does nothing. Received: {mask}",
    )


def _parts(space: Space, mask: Array | None) -> list[Array] | None:
    """Splits a mask into the choices it covers; `None` if it does not fit."""
    sizes = choices(space)
    if mask is None or not sizes or mask.size != sum(sizes):
        return None
    return np.split(mask, np.cumsum(sizes)[:-1])
