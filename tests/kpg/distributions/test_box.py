"""Actions in the bounds of a `Box`, to the last bit."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from kpg.distributions import for_space

Box = gym.spaces.Box
HUGE = float(np.finfo(np.float32).max)


def test_clips() -> None:
    box = Box(np.array([-1.0, 0.0]), np.array([1.0, np.inf]), dtype=np.float64)
    raw = tf.constant([[-3.0, -3.0], [0.25, 3.0], [3.0, 1e30]])
    actions = for_space(box).to_environment(raw)
    assert actions.dtype == tf.float64
    expected = [[-1.0, 0.0], [0.25, 3.0], [1.0, np.float32(1e30)]]
    np.testing.assert_array_equal(actions, expected)


@pytest.mark.parametrize("distribution", ["normal", "tanh_normal", "beta"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("bounds", [(-0.1, 0.1), (0.1, 0.7), (1000.1, 1000.3)])
def test_rounding_does_not_leave_the_bounds(
    distribution: str, dtype: Any, bounds: tuple[float, float]
) -> None:
    """0.1 as float32 is above 0.1 as float64."""
    low, high = np.array([bounds], dtype).T
    if low >= high:
        return  # float16 knows nothing between these bounds
    box = Box(low, high, dtype=dtype)
    extremes = tf.constant([[0.0], [1.0]] if distribution == "beta" else [[-99], [9e9]])
    family = for_space(box, distribution=distribution)
    actions = family.to_environment(tf.cast(extremes, tf.float32)).numpy()
    assert all(box.contains(action) for action in actions)
    np.testing.assert_allclose(actions, [low, high], rtol=1e-6)


@pytest.mark.parametrize("distribution", ["tanh_normal", "beta"])
def test_bounds_of_any_finite_size(distribution: str) -> None:
    family = for_space(Box(-1e30, 1e30, (1,)), distribution=distribution)
    parameters = tf.zeros([1, 2])
    raw = family.sample(parameters, tf.constant([1, 2]))
    expected = np.log(2e30)
    assert np.isfinite(family.to_environment(raw)).all()
    small = for_space(Box(0, 1, (1,)), distribution=distribution)
    for wide, unit in (
        (family.log_prob(parameters, raw), small.log_prob(parameters, raw)),
        (-family.entropy(parameters), -small.entropy(parameters)),
    ):
        np.testing.assert_allclose(unit - wide, [expected], rtol=1e-5)


@pytest.mark.parametrize("distribution", ["tanh_normal", "beta"])
@pytest.mark.parametrize(
    "box", [Box(-1, np.inf, (2,)), Box(-np.inf, 1, (2,)), Box(1.0, 1.0, (2,))], ids=str
)
def test_refuses_bounds_that_cannot_be_squashed_into(
    distribution: str, box: gym.spaces.Box
) -> None:
    with pytest.raises(ValueError, match=r"finite bounds, .*'normal'.*Received: Box"):
        for_space(box, distribution=distribution)
