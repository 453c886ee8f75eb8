"""A vector environment that is stepped in parts, and what is collected of it."""

from __future__ import annotations

from typing import Any

import gymnasium
import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

import kpg
from kpg.environments import HostEnvironment
from kpg.trainers.acting.evaluation import HostEvaluator
from kpg.trainers.acting.host import HostCollector
from tests.environments import Counting, Paid, limited

STEPS = 60


class Halves(VectorEnv[Any, Any, Any]):
    """Two vector environments that can be stepped apart, and what happened when.

    Attributes:
        events: The calls, each "send" or "wait" and a part.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
    parts = (slice(0, 2), slice(2, 4))

    def __init__(self, make: Any) -> None:
        self.halves = [SyncVectorEnv([make] * 2) for _ in self.parts]
        self.num_envs = 4
        self.single_observation_space = self.halves[0].single_observation_space
        self.single_action_space = self.halves[0].single_action_space
        self.events: list[tuple[str, int]] = []
        self.sent: dict[int, Any] = {}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        seeds = [None, None] if seed is None else [seed, seed + 2]
        pairs = zip(self.halves, seeds, strict=True)
        self.sent.clear()
        return np.concatenate([half.reset(seed=own)[0] for half, own in pairs]), {}

    def step_async(self, actions: Any, part: int) -> None:
        assert part not in self.sent
        self.events.append(("send", part))
        self.sent[part] = actions

    def step_wait(self, part: int) -> Any:
        self.events.append(("wait", part))
        return self.halves[part].step(self.sent.pop(part))


def cart_pole() -> Any:
    return gymnasium.make("CartPole-v1", max_episode_steps=20)


@pytest.mark.parametrize("memory", [None, "gru"])
def test_parts_change_nothing(memory: str | None) -> None:
    whole = HostEnvironment(SyncVectorEnv([cart_pole] * 4), seed=1)
    halves = HostEnvironment(Halves(cart_pole), seed=1)
    spaces = whole.observation_space, whole.action_space
    policy = kpg.models.Policy(*spaces, memory=memory, seed=0)
    collectors = [HostCollector(env, policy, STEPS) for env in (whole, halves)]
    for index in range(3):
        seed = np.array([3, index])
        (one, counted), (two, again) = (own.collect(seed) for own in collectors)
        tf.nest.assert_same_structure(one, two)
        pairs = zip(tf.nest.flatten(one), tf.nest.flatten(two), strict=True)
        for own, other in (pair for pair in pairs if pair[0] is not None):
            np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(one.actions, two.actions)
        assert counted == again
        assert counted.number > 4


def test_one_part_steps_while_the_policy_acts_for_the_other() -> None:
    halves = Halves(cart_pole)
    env = HostEnvironment(halves, seed=1)
    policy = kpg.models.Policy(env.observation_space, env.action_space, seed=0)
    HostCollector(env, policy, 3).collect(np.array([3, 1]))
    first, later = [("send", 0), ("send", 1)], [("wait", 0), ("send", 0)]
    later += [("wait", 1), ("send", 1)]
    assert halves.events == first + 2 * later + [("wait", 0), ("wait", 1)]


def test_a_fragment_that_breaks_off_is_followed_by_a_new_one() -> None:
    env = HostEnvironment(Halves(cart_pole), seed=1)
    policy = kpg.models.Policy(env.observation_space, env.action_space, seed=0)
    collector = HostCollector(env, policy, STEPS)
    first, _ = collector.collect(np.array([3, 1]))
    weights = policy.get_weights()
    policy.set_weights([np.full_like(weight, np.nan) for weight in weights])
    with pytest.raises(ValueError, match="log-probability that is not finite"):
        collector.collect(np.array([3, 1]))
    policy.set_weights(weights)
    again, _ = collector.collect(np.array([3, 1]))
    np.testing.assert_array_equal(first.observations, again.observations)
    other, _ = collector.collect(np.array([3, 1]), 5)  # goes on, so that no seed counts
    assert not np.array_equal(other.observations[0], again.observations[0])


@pytest.mark.usefixtures("one_by_one")
def test_no_action_is_drawn_twice() -> None:
    """Each step of each copy in each iteration has luck of its own, when played, too.

    The policy's actions are the numbers that were drawn for them.
    """
    vector = SyncVectorEnv([Paid] * 3)
    env = HostEnvironment(vector, seed=1)
    policy = kpg.models.Policy(
        env.observation_space, env.action_space, hidden_units=(2,), seed=0
    )
    policy.head.kernel.assign(tf.zeros_like(policy.head.kernel))
    critic = kpg.models.Critic(env.observation_space, hidden_units=(2,))
    trainer = kpg.trainers.ActorCritic(policy, critic, seed=2, num_steps=4)
    trainer.compile(keras.optimizers.SGD(0.0), jit_compile=False)

    def drawn() -> Any:
        numbers = np.concatenate([own.actions for own in envs])
        for own in envs:
            own.actions.clear()
        return np.sort(numbers)

    envs: Any = vector.envs
    trainer.fit(env, steps_per_epoch=2, verbose=0)
    numbers = drawn()
    assert len(numbers) == 3 * (2 * 4 - 2)  # the fourth and the eighth are resets
    assert np.diff(numbers).min() > 1e-6
    trainer.evaluate(env, episodes=6, deterministic=False)
    numbers = drawn()
    assert len(numbers) == 3 * 6
    assert np.diff(numbers).min() > 1e-6


@pytest.mark.parametrize("calls", ["reset", "step", "evaluation"])
def test_what_somebody_else_does_breaks_episodes_off(calls: str) -> None:
    env = HostEnvironment(SyncVectorEnv([cart_pole] * 2), seed=1)
    policy = kpg.models.Policy(env.observation_space, env.action_space, seed=0)
    collector = HostCollector(env, policy, 3)
    first, _ = collector.collect(np.array([3, 1]))
    assert collector.goes_on
    if calls == "reset":
        env.reset()
    elif calls == "step":
        env.step(np.zeros(2, int))
    else:
        HostEvaluator(env, policy, 1, True, False).run(9)
    assert not collector.goes_on
    again, _ = collector.collect(np.array([3, 1]), 2)
    env.reset(2)
    np.testing.assert_array_equal(again.observations[0], env.reset(2))
    assert not np.array_equal(again.observations[0], first.observations[0])


@pytest.mark.parametrize("restart", [False, True])
def test_rows_that_only_reset_are_no_steps(restart: bool) -> None:
    """Each episode of two steps is followed by a row without one."""
    played = SyncVectorEnv([lambda: limited(0, 2)] * 2)
    env = HostEnvironment(played, seed=1)
    policy = kpg.models.Policy(env.observation_space, env.action_space, seed=0)
    collector = HostCollector(env, policy, 6, restart)
    collector.collect(tf.constant([1, 2]))
    assert collector.steps == 2 * 4


def test_a_limit_that_is_not_kept_is_told() -> None:
    """Otherwise half an episode would be learned from as a whole one."""
    env = HostEnvironment(SyncVectorEnv([Counting]), seed=1, max_episode_steps=2)
    policy = kpg.models.Policy(env.observation_space, env.action_space, seed=0)
    collector = HostCollector(env, policy, 2, restart=True)
    with pytest.raises(ValueError, match=r"TimeLimit.*steps=2.*not ended after 2"):
        collector.collect(tf.constant([1, 2]))
