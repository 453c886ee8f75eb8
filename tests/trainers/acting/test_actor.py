"""The short way of calling a graph gives what the long one gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.trainers.acting.actor import Actor
from kpg.trainers.acting.graph import act

COPIES = 3


@pytest.fixture(scope="module")
def env() -> Any:
    return kpg.make("CartPole-v1", COPIES, backend="gymnasium", seed=0)


def actor_of(env: Any, memory: str | None) -> tuple[Any, Actor]:
    spaces = env.observation_space, env.action_space
    policy = kpg.models.Policy(*spaces, memory=memory, hidden_units=(8,), seed=0)

    def choose(observations: Any, state: Any, seed: tf.Tensor) -> tuple[Any, ...]:
        acted = act(policy, observations, state, seed)
        return acted.taken, {"parameters": acted.parameters}, acted.state

    return policy, Actor(env, policy, choose)


@pytest.mark.parametrize("memory", [None, "gru", "lstm"])
def test_calls_follow_the_policy_step_by_step(env: Any, memory: str | None) -> None:
    policy, actor = actor_of(env, memory)
    rows = np.random.default_rng(0).normal(size=(4, COPIES, 4)).astype("float32")
    state = policy.initial_state(COPIES)
    for number, observations in enumerate(rows):
        seed = np.array([5, number], np.int32)
        taken, named = actor(observations, seed)
        wanted = act(policy, tf.constant(observations), state, tf.constant(seed))
        state = wanted.state
        np.testing.assert_array_equal(taken, wanted.taken)
        np.testing.assert_allclose(named["parameters"], wanted.parameters, atol=1e-6)
        assert isinstance(taken, np.ndarray)


def test_single_copies_can_be_forgotten_and_all_of_them(env: Any) -> None:
    _, actor = actor_of(env, "gru")
    observations, seed = np.ones((COPIES, 4), "float32"), np.array([1, 2], np.int32)
    _, first = actor(observations, seed)
    actor.forget(np.array([True, False, False]))
    _, second = actor(observations, seed)
    same = np.isclose(second["parameters"], first["parameters"], atol=1e-6).all(axis=1)
    assert same.tolist() == [True, False, False]
    actor.restart()
    _, again = actor(observations, seed)
    np.testing.assert_allclose(again["parameters"], first["parameters"], atol=1e-6)
