"""Spaces survive JSON."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from kpg import spaces

SPACES: list[gym.Space[Any]] = [
    gym.spaces.Discrete(3),
    gym.spaces.Discrete(2, start=-1),
    gym.spaces.Box(-1.0, 1.0, (2,)),
    gym.spaces.Box(-np.inf, np.inf, (2, 3), np.float64),
    gym.spaces.Box(np.array([0.0, -np.inf]), np.array([0.1, 7.0]), dtype=np.float64),
    gym.spaces.Box(0, 255, (4, 4, 1), np.uint8),
    gym.spaces.Box(-0.07, 0.07, ()),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_round_trip_through_json(space: gym.Space[Any]) -> None:
    text = json.dumps(spaces.to_config(space), allow_nan=False)
    assert spaces.from_config(json.loads(text)) == space


def test_refuses_other_spaces() -> None:
    with pytest.raises(ValueError, match=r"Box and Discrete.*Received: MultiBinary"):
        spaces.to_config(gym.spaces.MultiBinary(3))


def test_refuses_what_describes_no_space() -> None:
    with pytest.raises(ValueError, match="`kind`.*Received: kind='Ball'"):
        spaces.from_config({"kind": "Ball"})


def test_check_box_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"observation space.*FlattenObservation"):
        spaces.check_box(gym.spaces.Discrete(3), "observation")
