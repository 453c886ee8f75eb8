"""An action is drawn, or is the most likely one; the environment gets its own form."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from kpg.models import Policy
from kpg.trainers.acting.acting import act

SPACE = gym.spaces.Box(-1.0, 1.0, (3,))
ROWS = tf.constant(np.random.default_rng(0).normal(size=(64, 3)), tf.float32)
SEED = tf.constant([1, 2])


@pytest.mark.parametrize("memory", [None, "gru"])
def test_actions_are_those_of_the_family(memory: str | None) -> None:
    policy = Policy(SPACE, gym.spaces.Discrete(3, start=5), memory=memory, seed=0)
    state = policy.initial_state(64)
    acted = act(policy, ROWS, state, SEED)
    parameters, after = policy.step(ROWS, state)
    np.testing.assert_allclose(acted.parameters, parameters, atol=1e-6)
    tf.nest.map_structure(
        lambda one, other: np.testing.assert_allclose(one, other, atol=1e-6),
        acted.state,
        after,
    )
    np.testing.assert_array_equal(
        acted.actions, policy.family.sample(acted.parameters, SEED)
    )
    np.testing.assert_array_equal(acted.taken, acted.actions + 5)
    assert len(np.unique(acted.actions)) == 3


def test_the_greedy_action_is_the_mode_and_needs_no_luck() -> None:
    policy = Policy(SPACE, gym.spaces.Box(-2.0, 2.0, (1,)), seed=0)
    policy.head.bias.assign([5.0])
    greedy = act(policy, ROWS, (), SEED, greedy=True)
    again = act(policy, ROWS, (), tf.constant([3, 4]), greedy=True)
    np.testing.assert_array_equal(greedy.actions, again.actions)
    np.testing.assert_allclose(
        greedy.actions, policy.family.mode(greedy.parameters), atol=1e-6
    )
    # Beyond the bounds of the space, but not for the environment.
    assert np.min(greedy.actions) > 2.0
    np.testing.assert_array_equal(greedy.taken, np.full([64, 1], 2.0))
