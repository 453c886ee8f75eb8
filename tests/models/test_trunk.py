"""What stands in front of a head."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest

from kpg.models import GRU, LSTM
from kpg.models.trunk import Trunk, TrunkOptions

SPACE = gym.spaces.Box(-1.0, 1.0, (3,))


def test_the_width_is_that_of_the_last_layer() -> None:
    seeds = (0, 1, 2)
    plain = Trunk(SPACE, TrunkOptions(hidden_units=(4, 5)), seeds)
    assert plain.width == 5 and plain.memory is None
    assert plain(np.zeros((2, 3), np.float32)).shape == (2, 5)
    remembering = Trunk(SPACE, TrunkOptions(hidden_units=(4,), memory=GRU(7)), seeds)
    assert remembering.width == 7
    assert remembering(np.zeros((2, 3), np.float32)).shape == (2, 4)


def test_each_seed_is_for_its_own_part() -> None:
    options = TrunkOptions(hidden_units=(4,), memory=LSTM(3))
    one, other = (Trunk(SPACE, options, seeds) for seeds in ((0, 1, 2), (0, 1, 3)))
    differing = [
        mine.path
        for mine, its in zip(one.weights, other.weights, strict=True)
        if not np.array_equal(mine, its)
    ]
    assert len(differing) == 2 and all("lstm" in path for path in differing)


def test_options_become_plain_data() -> None:
    options = TrunkOptions(keras.layers.Dense(2), memory=LSTM(3), action_mask="mask")
    config = json.loads(json.dumps(options.get_config()))
    assert config["memory"]["config"] == {"units": 3}
    assert config["backbone"]["class_name"] == "Dense"
    assert (config["hidden_units"], config["action_mask"]) == ([64, 64], "mask")


def test_refuses_options_without_effect() -> None:
    options: list[dict[str, Any]] = [{"hidden_units": [4]}, {"activation": "relu"}]
    for option in options:
        with pytest.raises(ValueError, match=r"no effect with a `backbone`.*Received"):
            TrunkOptions(backbone=keras.layers.Dense(2), **option)
