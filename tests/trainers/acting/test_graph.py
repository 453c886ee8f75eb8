"""Trajectories tell what happened, in the graph and on the host."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.environments import GraphEnvironment, as_environment
from kpg.models import Policy
from kpg.trainers.acting.graph import Episodes, GraphCollector, act
from kpg.trainers.acting.host import HostCollector
from kpg.trajectories import Trajectory
from tests.environments import Walk

STEPS = 60


def collect(
    backend: Any, restart: bool = False, env_id: str = "CartPole-v1", **options: Any
) -> tuple[Any, list[tuple[Any, Episodes]]]:
    """Collects three fragments; `options` go to the environment."""
    env: Any = kpg.make(env_id, num_envs=3, seed=1, backend=backend, **options)
    policy = kpg.models.Policy(env.observation_space, env.action_space, seed=0)
    fragments: list[Any] = []
    if backend == "graph":
        collector = GraphCollector(env, policy, STEPS, 3, restart)
        carry = collector.start(tf.constant([1, 2]))
        step = tf.function(collector.collect, autograph=False)
        for index in range(3):
            carry, *fragment = step(carry, tf.constant([3, index]))
            fragment = tf.nest.map_structure(
                lambda value: None if value is None else value.numpy(), fragment
            )
            fragments.append(fragment)
    else:
        host = HostCollector(env, policy, STEPS, restart)
        fragments = [host.collect(np.array([3, index])) for index in range(3)]
    return policy, [(trajectory, episodes) for trajectory, episodes in fragments]


def joined(fragments: list[tuple[Any, Episodes]]) -> Any:
    parts = [
        rows if rows.valid is not None else rows._replace(valid=rows.rewards == 1.0)
        for rows, _ in fragments
    ]
    names = Trajectory._fields[: Trajectory._fields.index("policy_state")]
    fields = ([getattr(part, name) for part in parts] for name in names)
    return Trajectory(*map(np.concatenate, fields))


@pytest.mark.parametrize("backend", ["graph", "gymnasium"])
def test_rows_follow_each_other(backend: str) -> None:
    _, fragments = collect(backend, max_episode_steps=20)
    rows = joined(fragments)
    ended = rows.terminated | rows.truncated
    assert rows.terminated.any() and rows.truncated.any()
    assert not (rows.terminated & rows.truncated).any()
    following = rows.observations[1:]
    goes_on = ~ended[:-1] & rows.valid[:-1]
    np.testing.assert_array_equal(
        rows.next_observations[:-1][goes_on], following[goes_on]
    )
    # CartPole starts within ±0.05, and no final observation lies there.
    finals = np.abs(rows.next_observations[ended]).max(-1)
    assert np.all(finals > 0.05)
    if backend == "gymnasium":  # NEXT_STEP: the row after the end is only a reset
        np.testing.assert_array_equal(~rows.valid[1:], ended[:-1])
        starts = rows.next_observations[~rows.valid]
    else:
        assert rows.valid.all()
        starts = rows.observations[1:][ended[:-1]]
    assert np.all(np.abs(starts) <= 0.05)


@pytest.mark.parametrize("backend", ["graph", "gymnasium"])
def test_log_probs_are_those_of_the_policy(backend: str) -> None:
    policy, fragments = collect(backend)
    rows = joined(fragments)
    log_probs = policy.log_prob(rows.observations.reshape(-1, 4), rows.actions.ravel())
    np.testing.assert_allclose(rows.log_probs.ravel(), log_probs, atol=1e-6)
    assert 0.3 < rows.actions.mean() < 0.7


@pytest.mark.parametrize("backend", ["graph", "gymnasium"])
def test_episode_statistics(backend: str) -> None:
    _, fragments = collect(backend, max_episode_steps=20)
    rows = joined(fragments)
    lengths: list[float] = []
    for column in range(3):
        length = 0
        for time in range(len(rows.rewards)):
            length += bool(rows.valid[time, column])
            if rows.terminated[time, column] or rows.truncated[time, column]:
                lengths.append(length)
                length = 0
    count = sum(float(episodes.number) for _, episodes in fragments)
    total = sum(float(episodes.lengths) for _, episodes in fragments)
    returns = sum(float(episodes.returns) for _, episodes in fragments)
    assert count == len(lengths)
    assert total == sum(lengths)
    assert returns == total  # CartPole pays 1 a step
    assert max(lengths) == 20


@pytest.mark.parametrize("backend", ["graph", "gymnasium"])
def test_restarted_fragments_hold_one_whole_episode_each(backend: str) -> None:
    _, fragments = collect(backend, restart=True, max_episode_steps=50)
    for rows, episodes in fragments:
        ended = rows.terminated | rows.truncated
        assert ended.sum() > 3  # others end after them, and do not count
        assert episodes.number == 3
        assert episodes.returns == episodes.lengths == rows.valid.sum()
        assert np.all(np.abs(rows.observations[0]) <= 0.05)
        np.testing.assert_array_equal((ended & rows.valid).sum(axis=0), 1)
        lengths = rows.valid.sum(axis=0)
        np.testing.assert_array_equal(ended.argmax(axis=0) + 1, lengths)
    starts = [rows.observations[0] for rows, _ in fragments]
    assert not any(np.array_equal(*pair) for pair in itertools.pairwise(starts))


def test_fragments_of_one_seed_are_equal() -> None:
    for backend in ("graph", "gymnasium"):
        first, again = (joined(collect(backend)[1]) for _ in range(2))
        np.testing.assert_array_equal(first.actions, again.actions)
        np.testing.assert_array_equal(first.observations, again.observations)


def test_stored_actions_are_raw_and_taken_actions_are_clipped() -> None:
    policy, fragments = collect("gymnasium", env_id="Pendulum-v1")
    rows = joined(fragments)
    assert policy.log_std is not None
    policy.log_std.assign([2.0])  # later draws leave the bounds of ±2
    actions, _ = policy.sample(rows.observations.reshape(-1, 3), tf.constant([1, 2]))
    assert np.abs(actions).max() > 2.0
    assert np.abs(policy.family.to_environment(actions)).max() == 2.0


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


@pytest.mark.usefixtures("one_by_one")
def test_what_ends_at_the_limit_is_terminated_not_truncated() -> None:
    env = as_environment(Walk(length=3, max_episode_steps=3), num_envs=2, seed=0)
    assert isinstance(env, GraphEnvironment)
    policy = Policy(env.observation_space, env.action_space, hidden_units=(2,))
    collector = GraphCollector(env, policy, 6, 2)
    _, rows, _ = collector.collect(collector.start(SEED), SEED)
    np.testing.assert_array_equal(rows.terminated[:, 0], [0, 0, 1, 0, 0, 1])
    assert not rows.truncated.numpy().any()


class Lottery(Walk):
    """Draws numbers where it starts and at each step, and keeps them and the actions.

    They are what a generator draws first: later draws are of streams of their own.
    """

    def __init__(self) -> None:
        super().__init__(length=2, action_space=gym.spaces.Box(-np.inf, np.inf, (1,)))
        self.drawn: list[np.ndarray] = []

    def kept(self, *parts: Any) -> tf.Tensor:
        def keep(*arrays: Any) -> Any:
            self.drawn += [array.ravel().copy() for array in arrays]
            return np.float32(0.0)

        return tf.ensure_shape(tf.numpy_function(keep, parts, tf.float32), [])

    def initial(self, rng: Any, params: Any = None) -> tf.Tensor:
        drawn = self.kept(rng.normal())
        return super().initial(rng) + drawn

    def transition(
        self, state: tf.Tensor, action: Any, rng: Any, params: Any = None
    ) -> tf.Tensor:
        drawn = self.kept(rng.normal(), action)
        return super().transition(state, action, rng) + drawn


@pytest.mark.usefixtures("one_by_one")
def test_no_random_number_is_drawn_twice() -> None:
    """Neither for another purpose nor at another time: they would not be independent.

    The policy's actions are the numbers that were drawn for them.
    """
    lottery = Lottery()
    env = as_environment(lottery, num_envs=5, seed=1)
    policy = Policy(env.observation_space, env.action_space, hidden_units=(2,), seed=0)
    policy.head.kernel.assign(tf.zeros_like(policy.head.kernel))
    critic = kpg.models.Critic(env.observation_space, hidden_units=(2,))
    trainer = kpg.trainers.ActorCritic(policy, critic, seed=2, num_steps=4)
    trainer.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    trainer.fit(env, steps_per_epoch=2, verbose=0)
    numbers = np.sort(np.concatenate(lottery.drawn))
    assert len(numbers) == 5 + 2 * 4 * 5 * 3  # starts; fresh ones, noise and actions
    assert np.diff(numbers).min() > 1e-6
    lottery.drawn.clear()
    trainer.evaluate(env, episodes=10, deterministic=False)
    numbers = np.sort(np.concatenate(lottery.drawn))
    assert len(numbers) == 5 + 4 * 5 * 3
    assert np.diff(numbers).min() > 1e-6
