"""CartPole against Gymnasium's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from kpg.environments import CartPole, GraphEnvironment, Rng
from tests import classic_control


@pytest.mark.parametrize("check", classic_control.CHECKS)
def test_it_is_that_of_gymnasium(check: Callable[[str], None]) -> None:
    check("CartPole-v1")


def test_the_cart_may_not_leave_and_the_pole_may_not_fall() -> None:
    env = GraphEnvironment(CartPole())
    limit = 12 * 2 * np.pi / 360
    states = np.zeros((6, 4), np.float32)
    states[:, 0] = [0.0, 2.39, 2.41, -2.41, 0.0, 0.0]
    states[:, 2] = [0.0, 0.0, 0.0, 0.0, limit + 1e-4, -limit - 1e-4]
    np.testing.assert_array_equal(env.terminal(states), [False, False] + [True] * 4)


@pytest.mark.parametrize("sutton_barto_reward", [False, True])
def test_the_reward_of_the_last_step(sutton_barto_reward: bool) -> None:
    kwargs = {"sutton_barto_reward": sutton_barto_reward}
    env = classic_control.graph_env("CartPole-v1", **kwargs)
    other: Any = gymnasium.make("CartPole-v1", **kwargs)
    for theta in (0.0, 0.208):
        state = np.array([0.0, 0.0, theta, 1.0], np.float32)
        other.reset()
        classic_control.set_state(other, state)
        _, reward, ends, _, _ = other.step(1)
        states = tf.constant(state[np.newaxis])
        actions = tf.constant([1])
        following = env.transition(states, actions, Rng(tf.constant([0, 0]), 1))
        assert env.terminal(following).numpy()[0] == ends
        assert env.reward(states, actions, following).numpy()[0] == reward
