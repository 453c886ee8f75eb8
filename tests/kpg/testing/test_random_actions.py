"""Random actions respect masks and seeds."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from kpg.testing.random_actions import Actor, find_mask, without_action

PAIR = gym.spaces.MultiDiscrete([2, 3], start=[1, -1])


def test_equal_seeds_draw_equal_actions_and_leave_the_space_alone() -> None:
    space = gym.spaces.Discrete(100, seed=5)
    expected = gym.spaces.Discrete(100, seed=5).sample()
    draws = [[Actor(space, seed).choose(None) for _ in range(3)] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert space.sample() == expected


@pytest.mark.parametrize(
    ("space", "mask", "legal"),
    [
        (gym.spaces.Discrete(3, start=4), [0, 1, 0], 5),
        (PAIR, [0, 1, 1, 0, 0], [2, -1]),
    ],
)
def test_only_legal_actions_are_drawn(space: Any, mask: Any, legal: Any) -> None:
    actor = Actor(space, 0)
    for _ in range(20):
        action = actor.choose(np.array(mask))
        np.testing.assert_array_equal(action, legal)
        assert space.contains(action)


def test_a_mask_that_does_not_fit_is_left_to_the_environment() -> None:
    actor = Actor(PAIR, 0)
    for mask in (np.ones(3), np.zeros(5)):
        assert PAIR.contains(actor.choose(mask))


def test_a_mask_is_found_in_the_info_and_in_the_observation() -> None:
    mask = (np.array([0, 1]), np.array([1]))
    for place in [({}, {"action_mask": mask}), ({"action_mask": mask}, {})]:
        np.testing.assert_array_equal(find_mask(*place), [0, 1, 1])
    assert find_mask(np.zeros(2), {}) is None


def test_a_mask_without_an_action_is_found() -> None:
    finding = without_action(PAIR, np.array([1, 1, 0, 0, 0]))
    assert finding is not None
    assert finding.name == "mask_without_action"
    assert without_action(PAIR, np.array([1, 0, 0, 0, 1])) is None
    assert without_action(gym.spaces.Box(0, 1, (5,)), np.zeros(5)) is None
