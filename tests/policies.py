"""A small policy of every kind, whose weights are not those of a new one."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

import kpg

BOX = spaces.Box(-1.0, 1.0, (4,), np.float32)
ARM = spaces.Box(np.array([-2, 0], np.float32), np.array([3, 0.1], np.float32))
KIND = spaces.Discrete(3, start=1)
NESTED = spaces.Tuple([spaces.MultiDiscrete([2, 4], start=[1, -3]), BOX])
HYBRID = spaces.Dict({"arm": ARM, "kind": KIND, "bits": spaces.MultiBinary(2)})
MASKED = spaces.Dict({"legal": spaces.MultiBinary(3), "seen": BOX})
IMAGE = spaces.Box(0, 255, (36, 36, 3), np.uint8)

KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "discrete": (BOX, KIND, {}),
    "numbers": (spaces.Discrete(5, start=2), spaces.MultiDiscrete([3, 2]), {}),
    "double": (spaces.Box(-1.0, 1.0, (2,), np.float64), spaces.MultiBinary(3), {}),
    "normal": (BOX, ARM, {"state_dependent_std": True}),
    "tanh": (BOX, ARM, {"distribution": "tanh_normal"}),
    "beta": (BOX, ARM, {"distribution": "beta"}),
    "masked": (MASKED, KIND, {"action_mask": "legal"}),
    "image": (IMAGE, KIND, {}),
    "hybrid": (spaces.Dict({"a": BOX, "b": NESTED}), HYBRID, {}),
    "gru": (BOX, KIND, {"memory": "gru", "memory_units": 5}),
    "lstm": (BOX, HYBRID, {"memory": "lstm", "memory_units": 5}),
    "transformer": (BOX, KIND, {"memory": kpg.models.Transformer(8, 4)}),
}


def policy(kind: str) -> Any:
    """Returns a policy of one of `KINDS`."""
    observations, actions, options = KINDS[kind]
    if observations is not IMAGE:
        options = {"hidden_units": (8,), **options}
    made = kpg.models.Policy(observations, actions, seed=3, **options)
    rng = np.random.default_rng(0)
    for variable in made.trainable_variables:
        noise = rng.normal(size=variable.shape) * 0.1
        variable.assign_add(noise.astype(np.float32))
    return made
