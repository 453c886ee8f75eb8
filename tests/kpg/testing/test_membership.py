"""Which observations are in their space, and which findings the others give."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from kpg.testing.membership import findings, same

BOX = gym.spaces.Box(-1.0, 2.0, (2,))
BITS = gym.spaces.MultiBinary(3)
TEXT = gym.spaces.Text(3, charset="abc")
NEST = gym.spaces.Dict(a=BOX, b=gym.spaces.Tuple([gym.spaces.Discrete(3), BITS]))


def named(space: gym.Space[Any], observation: Any) -> list[str]:
    return [finding.name for finding in findings(space, observation)]


@pytest.mark.parametrize(
    ("space", "observation", "names"),
    [
        (BOX, np.array([-1.0, 2.0], np.float32), []),
        (BOX, np.array([-1.0, 2.0], np.float16), []),
        # Within rounding of the bound.
        (BOX, np.array([0.0, 2.00001], np.float32), []),
        (BOX, np.array([0.0, 2.001], np.float32), ["observation_bounds"]),
        (BOX, np.zeros((2, 1), np.float32), ["observation_shape"]),
        (BOX, np.zeros(2), ["observation_dtype"]),
        (BOX, np.array([0.0, np.nan], np.float32), ["non_finite_observations"]),
        (gym.spaces.Discrete(3, start=1), 3, []),
        (gym.spaces.Discrete(3, start=1), 0, ["observation_bounds"]),
        (gym.spaces.Discrete(3), 1.0, ["observation_dtype"]),
        (BITS, np.array([True, False, True]), []),
        (BITS, np.array([0, 1, 2]), ["observation_bounds"]),
        (TEXT, "abc", []),
        (TEXT, "abd", ["observation_bounds"]),
        (TEXT, np.array([1, 3, 0], np.int32), []),
        (TEXT, np.array([1, 4, 0], np.int32), ["observation_bounds"]),
        (TEXT, np.array([1, 2], np.int32), ["observation_shape"]),
        (NEST, {"a": np.zeros(2, np.float32), "b": (1, np.zeros(3, int))}, []),
        (NEST, {"a": np.zeros(2, np.float32)}, ["observation_shape"]),
        (NEST, {"a": np.zeros(2, np.float32), "b": [1]}, ["observation_shape"]),
        (NEST, np.zeros(2), ["observation_shape"]),
        (
            NEST,
            {"a": np.zeros(2), "b": (7, np.zeros(3, int))},
            ["observation_dtype", "observation_bounds"],
        ),
    ],
)
def test_what_is_wrong_is_named(space: Any, observation: Any, names: list[str]) -> None:
    assert named(space, observation) == names


def test_the_place_is_in_the_words() -> None:
    wrong = {"a": np.zeros(2, np.float32), "b": (7, np.zeros(3, int))}
    (finding,) = findings(NEST, wrong)
    assert "observation['b'][0] lies outside" in finding.words


@pytest.mark.parametrize(
    ("left", "right", "tolerance", "equal"),
    [
        (np.array([1.0, np.nan]), np.array([1.0, np.nan]), 0.0, True),
        (1.0, 1.0 + 1e-9, 0.0, False),
        (1.0, 1.0 + 1e-4, 1e-3, True),
        (1, 2, 1.0, False),
        (np.ones(2), np.ones((2, 1)), 0.0, False),
        ({"a": (1, "b")}, {"a": (1, "b")}, 0.0, True),
        ({"a": (1, "b")}, {"a": (1, "c")}, 0.0, False),
        ((1, 2), (1,), 0.0, False),
    ],
)
def test_nests_are_compared(left: Any, right: Any, tolerance: Any, equal: bool) -> None:
    assert same(left, right, tolerance) is equal
