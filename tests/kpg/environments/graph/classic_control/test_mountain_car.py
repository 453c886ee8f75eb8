"""The mountain cars against Gymnasium's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from kpg.environments import GraphEnvironment, MountainCar, Rng
from tests import classic_control


@pytest.mark.parametrize("check", classic_control.CHECKS)
@pytest.mark.parametrize("env_id", ["MountainCar-v0", "MountainCarContinuous-v0"])
def test_they_are_those_of_gymnasium(check: Callable[[str], None], env_id: str) -> None:
    check(env_id)


def test_the_wall_takes_the_speed_away() -> None:
    env = GraphEnvironment(MountainCar())
    states = tf.constant([[-1.19, -0.05], [-1.2, 0.0]])
    following = env.transition(states, tf.constant([0, 2]), Rng(tf.constant([0, 0]), 2))
    np.testing.assert_allclose(following[0], [-1.2, 0.0], atol=1e-7)
    assert following[1, 1].numpy() > 0.0


def test_the_goal_is_reached_only_forwards() -> None:
    env = GraphEnvironment(MountainCar())
    states = tf.constant([[0.5, 0.0], [0.5, -0.01], [0.4999, 0.05], [0.6, 0.07]])
    np.testing.assert_array_equal(env.terminal(states), [True, False, False, True])


def test_a_goal_velocity_can_be_asked_for() -> None:
    env = classic_control.graph_env("MountainCar-v0", goal_velocity=0.05)
    states = tf.constant([[0.5, 0.04], [0.5, 0.06]])
    np.testing.assert_array_equal(env.terminal(states), [False, True])
