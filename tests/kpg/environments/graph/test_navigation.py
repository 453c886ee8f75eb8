"""The robot in the plane against geometry and dynamic programming."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.environments import GraphEnvironment, Rng
from kpg.environments.graph.navigation import Navigation

COUNT = 256


def step(env: GraphEnvironment, states: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
    return env.transition(states, actions, Rng(tf.constant([0, 0]), states.shape[0]))


def test_equations() -> None:
    env = GraphEnvironment(Navigation())
    states = np.array(
        [
            [0, 0, 3, 4],
            [0, 0, 3, 4],
            [1, 1, 1, 2],
            [4.5, 0, -5, 0],
            [0, 0, 0, 2],
            [0, 0, 0, 2],
        ],
        np.float32,
    )
    actions = np.array(
        [
            [0.0, 0.0],
            [math.pi / 6, 0.5],
            [math.pi / 2, 1.0],
            [0.0, 1.0],  # into the wall
            [9.0, 1.0],  # clipped to π
            [math.pi / 2, 7.0],  # clipped to a distance of 1
        ],
        np.float32,
    )
    following = step(env, states, actions).numpy()
    places = np.array(
        [[0, 0], [math.sqrt(3) / 4, 0.25], [1, 2], [5, 0], [-1, 0], [0, 1]]
    )
    np.testing.assert_allclose(following[:, :2], places, atol=1e-6)
    np.testing.assert_array_equal(following[:, 2:], states[:, 2:])
    rewards = env.reward(states, actions, following).numpy()
    expected = -np.sqrt(((states[:, 2:] - places) ** 2).sum(axis=1))
    np.testing.assert_allclose(rewards, expected, atol=1e-6)
    np.testing.assert_array_equal(env.observation(following), following)


def test_ends_near_the_goal() -> None:
    env = GraphEnvironment(Navigation())
    states = tf.constant([[0.0, 0.0, 0.4, 0.3], [0.0, 0.0, 0.4, 0.31]])
    np.testing.assert_array_equal(env.terminal(states), [True, False])
    assert env.max_episode_steps == 50


def test_first_states_fill_the_room() -> None:
    env = GraphEnvironment(Navigation())
    states = env.initial(Rng(tf.constant([1, 2]), 20_000)).numpy()
    assert states.dtype == np.float32
    assert all(env.observation_space.contains(state) for state in states[:100])
    # Uniform: mean 0 and variance 100/12, within 5 standard errors; no correlation.
    np.testing.assert_allclose(states.mean(0), 0.0, atol=5 * 2.887 / np.sqrt(20_000))
    np.testing.assert_allclose(np.cov(states.T), np.eye(4) * 100 / 12, atol=0.3)


@pytest.mark.parametrize("discount", [1.0, 0.9, 0.0])
def test_values_against_dynamic_programming(discount: float) -> None:
    """On a grid of distances: a step can take any distance off, up to 1."""
    width = 0.01
    grid = np.arange(1201) * width
    optimal = np.zeros(len(grid))
    for index in range(len(grid)):
        # Staying where one is would be the index itself, which is never better.
        nearer = np.arange(max(0, index - 100), max(index, 1))
        going_on = discount * optimal[nearer] * (grid[nearer] > 0.5 + 1e-9)
        optimal[index] = np.max(going_on - grid[nearer])
    angles = np.linspace(0.0, 6.0, len(grid))
    goals = np.stack([np.cos(angles), np.sin(angles)], axis=1) * grid[:, np.newaxis]
    states = np.concatenate([-goals / 2, goals / 2], axis=1).astype(np.float32)
    # At exactly the radius rounding decides.
    clear = np.abs((grid - 0.5) % 1.0 - 0.5) < 0.5 - width / 2
    values = Navigation().values(tf.constant(states), discount).numpy()
    np.testing.assert_allclose(values[clear], optimal[clear], rtol=1e-5, atol=1e-4)


def test_the_straight_line_earns_the_values() -> None:
    func_env = Navigation()
    env = GraphEnvironment(func_env)
    discount = 0.9

    @tf.function(autograph=False, jit_compile=True)
    def move(states: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        actions = func_env.best_actions(states)
        following = step(env, states, actions)
        return (
            following,
            env.reward(states, actions, following),
            env.terminal(following),
        )

    states = env.initial(Rng(tf.constant([1, 2]), COUNT))
    expected = func_env.values(states, discount).numpy()
    earned, alive = np.zeros(COUNT), np.ones(COUNT, bool)
    for count in range(15):
        states, rewards, ends = move(states)
        earned += np.where(alive, discount**count * rewards.numpy(), 0.0)
        alive &= ~ends.numpy()
    assert not alive.any()
    np.testing.assert_allclose(earned, expected, rtol=1e-4, atol=1e-4)


def test_no_detour_earns_more() -> None:
    func_env = Navigation()
    env = GraphEnvironment(func_env)
    random = np.random.default_rng(0)
    states = env.initial(Rng(tf.constant([5, 6]), COUNT))
    best = func_env.values(states, 1.0)
    actions = random.uniform([-math.pi, 0.0], [math.pi, 1.0], (COUNT, 2))
    actions = actions.astype(np.float32)
    following = step(env, states, actions)
    later = tf.where(env.terminal(following), 0.0, func_env.values(following, 1.0))
    earned = env.reward(states, actions, following) + later
    assert (earned <= best + 1e-4).numpy().all()
    assert (earned < best - 0.1).numpy().mean() > 0.5


@pytest.mark.slow
def test_ppo_comes_near_the_optimum() -> None:
    func_env = Navigation()
    env = GraphEnvironment(func_env, 32, seed=0)
    spaces = env.observation_space, env.action_space
    trainer = kpg.trainers.PPO(
        kpg.models.Policy(*spaces, distribution="tanh_normal", seed=0),
        kpg.models.Critic(spaces[0], seed=0),
        seed=0,
        num_steps=64,
        gamma=0.95,
        num_epochs=10,
        minibatch_size=256,
    )
    trainer.compile(keras.optimizers.Adam(1e-3), steps_per_execution=100)
    trainer.fit(env, steps_per_epoch=400, verbose=0)
    states = env.initial(Rng(tf.constant([1, 2]), 5000))
    optimum = tf.reduce_mean(func_env.values(states, 1.0)).numpy()
    # −14.1, of which the standard error of 1000 episodes is 0.4.
    assert trainer.evaluate(env, episodes=1000)["return"] > optimum - 1.5
