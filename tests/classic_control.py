"""Compares in-graph environments with Gymnasium's own, step by step."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import tensorflow as tf

import kpg
from kpg.environments import GraphEnvironment, Rng

COPIES = 8
# The id, and how many steps a comparison takes to see all ends and walls.
STEPS = {
    "Acrobot-v1": 1200,
    "CartPole-v1": 1200,
    "MountainCar-v0": 800,
    "MountainCarContinuous-v0": 1100,
    "Pendulum-v1": 450,
}
# float32 against float64 in a single step. Positions and angles up to 5 leave a few
# 10⁻⁷; Acrobot's four Runge–Kutta stages and speeds up to 28 multiply that.
TOLERANCE = {"Acrobot-v1": 3e-5, "Pendulum-v1": 3e-6}


def tolerance(env_id: str) -> dict[str, Any]:
    both = TOLERANCE.get(env_id, 1e-6)
    return {"rtol": both, "atol": both}


def graph_env(env_id: str, **kwargs: Any) -> GraphEnvironment:
    env = kpg.make(env_id, COPIES, backend="graph", **kwargs)
    assert isinstance(env, GraphEnvironment)
    return env


def skilled(env_id: str, states: Any) -> Any:
    """Actions that reach every goal and keep the pole up."""
    if env_id == "CartPole-v1":
        return states @ [0.1, 0.5, 4.0, 1.0] > 0.0
    if env_id == "Acrobot-v1":
        return np.where(states[:, 2] >= 0.0, 0, 2)
    if env_id == "Pendulum-v1":
        return np.sign(states[:, 1:]) * 3.0
    if env_id == "MountainCar-v0":
        return np.where(states[:, 1] >= 0.0, 2, 0)
    return np.where(states[:, 1:] >= 0.0, 1.0, -1.0)


def actions_for(env: GraphEnvironment, states: Any, rng: np.random.Generator) -> Any:
    """Plays well in half of the copies and at random in the others.

    So that walls, goals, falls and time limits are all met, and forces out of range.
    """
    assert env.spec is not None
    env_id, space = env.spec.id, env.action_space
    if isinstance(space, gymnasium.spaces.Discrete):
        actions: Any = rng.integers(0, int(space.n), COPIES)
        half = np.arange(COPIES) < COPIES // 2
        dtype: Any = np.int32
    else:
        assert isinstance(space, gymnasium.spaces.Box)
        actions = 1.5 * rng.uniform(space.low, space.high, (COPIES, 1))
        half = np.arange(COPIES)[:, np.newaxis] < COPIES // 2
        dtype = np.float32
    if env_id == "MountainCar-v0":
        # A car that always pushes to the left ends at the wall.
        actions[-1] = 0
    return np.where(half, skilled(env_id, states), actions).astype(dtype)


def set_state(gym_env: Any, state: Any) -> None:
    gym_env.unwrapped.state = state.astype(np.float64)


def steps_agree(env_id: str, limit: int | None = None) -> None:
    """Both take the same steps from the same states."""
    env = graph_env(env_id, **({"max_episode_steps": limit} if limit else {}))
    others = [
        gymnasium.make(env_id, limit, disable_env_checker=True) for _ in range(COPIES)
    ]
    numpy_rng = np.random.default_rng(0)
    seen = {"terminated": 0, "truncated": 0, "wall": 0}

    @tf.function(autograph=False, jit_compile=True)
    def step(states: tf.Tensor, actions: tf.Tensor, seed: tf.Tensor) -> Any:
        following = env.transition(states, actions, Rng(seed, COPIES))
        return (
            following,
            env.observation(following),
            env.reward(states, actions, following),
            env.terminal(following),
            env.initial(Rng(seed, COPIES)),
        )

    states = env.initial(Rng(tf.constant([1, 2]), COPIES)).numpy()
    lengths = np.zeros(COPIES, int)
    for other, state in zip(others, states, strict=True):
        other.reset()
        set_state(other, state)
    for count in range(5 * limit if limit else STEPS[env_id]):
        actions = actions_for(env, states, numpy_rng)
        results = [
            array.numpy() for array in step(states, actions, tf.constant([count, 3]))
        ]
        states, observations, rewards, terminated, fresh = results
        lengths += 1
        assert env.max_episode_steps is not None
        truncated = (lengths >= env.max_episode_steps) & ~terminated
        theirs = [
            other.step(action)[:4]
            for other, action in zip(others, actions, strict=True)
        ]
        seen_by_them, paid, ends, cuts = map(np.array, zip(*theirs, strict=True))
        np.testing.assert_allclose(observations, seen_by_them, **tolerance(env_id))
        paid = paid.astype(float).reshape(COPIES)
        np.testing.assert_allclose(rewards, paid, **tolerance(env_id))
        np.testing.assert_array_equal(terminated, ends)
        np.testing.assert_array_equal(truncated, cuts & ~ends)
        for index in np.flatnonzero(ends | cuts):
            others[index].reset()
        seen["terminated"] += terminated.sum()
        seen["truncated"] += truncated.sum()
        seen["wall"] += (states[:, 0] <= np.float32(-1.2)).sum()
        ended = terminated | truncated
        states = np.where(ended[:, np.newaxis], fresh, states)
        lengths[ended] = 0
        for other, state in zip(others, states, strict=True):
            set_state(other, state)
    # The comparison covered what it is meant to cover.
    assert seen["truncated"] > 0
    assert seen["terminated"] > 0 or limit or env_id == "Pendulum-v1"
    assert seen["wall"] > 0 or limit or "Mountain" not in env_id


def any_state_leads_to_the_same(env_id: str) -> None:
    """Angles that turn over, speeds at their limits, ends above the line."""
    env = graph_env(env_id)
    other: Any = gymnasium.make(env_id, disable_env_checker=True)
    other.reset()
    rng, count = np.random.default_rng(0), 300
    high = [np.pi, np.pi, 4 * np.pi, 9 * np.pi]
    scales = np.array(high if env_id == "Acrobot-v1" else [np.pi, 8.0])
    states = rng.uniform(-scales, scales, (count, len(scales))).astype(np.float32)
    if env_id == "Acrobot-v1":
        actions: Any = rng.integers(0, 3, count).astype(np.int32)
    else:
        actions = rng.uniform(-3.0, 3.0, (count, 1)).astype(np.float32)
    following = env.transition(states, actions, Rng(tf.constant([0, 0]), count))
    observations = env.observation(following).numpy()
    space: Any = env.observation_space
    assert (np.abs(observations) <= space.high).all()
    rewards = env.reward(states, actions, following).numpy()
    ends = env.terminal(following).numpy()
    theirs = []
    for state, action in zip(states, actions, strict=True):
        set_state(other, state)
        # The wrappers would ask for a reset after the end.
        theirs.append(other.unwrapped.step(action)[:3])
    seen_by_them, paid, ended = map(np.array, zip(*theirs, strict=True))
    # Speeds of 28 rad/s turn 5.6 rad in a step: errors grow tenfold.
    np.testing.assert_allclose(observations, seen_by_them, 1e-4, 1e-4)
    np.testing.assert_allclose(rewards, paid.astype(float).reshape(count), 1e-5)
    np.testing.assert_array_equal(ends, ended)
    assert (np.abs(seen_by_them[:, -1]) > 0.999 * scales[-1]).sum() > 5
    assert ends.any() == (env_id == "Acrobot-v1")


def spaces_and_limits_agree(env_id: str) -> None:
    """Both declare the same."""
    env, other = graph_env(env_id), gymnasium.make(env_id)
    assert env.observation_space == other.observation_space
    assert env.action_space == other.action_space
    assert env.spec is not None
    assert other.spec is not None
    assert env.max_episode_steps == other.spec.max_episode_steps
    assert env.func_env.max_episode_steps == other.spec.max_episode_steps
    assert env.spec.reward_threshold == other.spec.reward_threshold
    assert env.spec.id == env_id


def initial_states_agree(env_id: str) -> None:
    """Both draw first states from the same distribution."""
    env = graph_env(env_id)
    count = 4000
    states = env.observation(env.initial(Rng(tf.constant([0, 1]), count))).numpy()
    other = gymnasium.make(env_id)
    theirs = np.stack([other.reset(seed=seed)[0] for seed in range(count)])
    assert states.dtype == theirs.dtype == np.float32
    # Both uniform: means and standard deviations agree within 5 standard errors.
    error = theirs.std(axis=0) / np.sqrt(count)
    assert (np.abs(states.mean(0) - theirs.mean(0)) <= 5 * np.sqrt(2) * error).all()
    assert (np.abs(states.std(0) - theirs.std(0)) <= 5 * np.sqrt(2) * error).all()
    width = np.ptp(theirs, axis=0)
    np.testing.assert_allclose(states.min(0), theirs.min(0), atol=0.01 * width.max())
    np.testing.assert_allclose(states.max(0), theirs.max(0), atol=0.01 * width.max())


def eager_and_compiled_agree(env_id: str) -> None:
    """XLA computes the same."""
    env = graph_env(env_id)
    states = env.initial(Rng(tf.constant([0, 1]), COPIES))
    actions = actions_for(env, states.numpy(), np.random.default_rng(0))
    rng = Rng(tf.constant([0, 2]), COPIES)
    compiled = tf.function(
        lambda s, a: env.transition(s, a, rng), autograph=False, jit_compile=True
    )
    np.testing.assert_allclose(
        env.transition(states, actions, rng),
        compiled(states, actions),
        **tolerance(env_id),
    )


def limited_steps_agree(env_id: str) -> None:
    """The same with a time limit of one's own."""
    steps_agree(env_id, limit=30)


CHECKS = (
    steps_agree,
    limited_steps_agree,
    spaces_and_limits_agree,
    initial_states_agree,
    eager_and_compiled_agree,
)
