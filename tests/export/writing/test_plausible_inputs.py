"""Plausible observations are of their space, and not all alike."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from kpg.export.writing.plausible_inputs import plausible

SPACES = {
    "bounded": gym.spaces.Box(np.array([-2, 0], np.float32), np.float32(3), (2,)),
    "half": gym.spaces.Box(-1.0, np.inf, (3,), np.float32),
    "any float": gym.spaces.Box(-3.4e38, 3.4e38, (3,), np.float32),
    "scalar": gym.spaces.Box(-np.inf, np.inf, (), np.float64),
    "image": gym.spaces.Box(0, 255, (4, 3, 1), np.uint8),
    "discrete": gym.spaces.Discrete(3, start=-1),
    "many": gym.spaces.MultiDiscrete([2, 4], start=[1, -3]),
    "bits": gym.spaces.MultiBinary([2, 2]),
    "text": gym.spaces.Text(5, charset="zaéß😀"),
}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
def test_rows_of_a_space(space: Any) -> None:
    state = space.np_random.bit_generator.state
    drawn = plausible(space, 40, np.random.default_rng(0))
    values = [np.asarray(one) for one in drawn]
    if isinstance(space, gym.spaces.Text):
        values = [text.decode() for text in drawn]
        assert {len(text) for text in values} == {1, 2, 3, 4, 5}
    else:
        assert drawn.dtype == space.dtype and drawn.shape == (40, *space.shape)
        assert np.abs(drawn.astype(float)).max() < 1e3
    assert all(space.contains(value) for value in values)
    assert len(np.unique(values)) > 1
    again = plausible(space, 40, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn, again)
    assert len(plausible(space, 0, np.random.default_rng(0))) == 0
    assert space.np_random.bit_generator.state == state
