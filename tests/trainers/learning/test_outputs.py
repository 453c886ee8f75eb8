"""What the models say about rows, with and without a memory and a shared trunk."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.trainers.learning.outputs import log_probs_of, outputs
from kpg.trajectories import flatten, resets
from tests.fragments import B, T, batch_of, fragment


def models(memory: str | None, shared: bool) -> tuple[Any, Any]:
    env = kpg.make("CartPole-v1", num_envs=B)
    options: dict[str, Any] = {"memory": memory, "memory_units": 4} if memory else {}
    small: dict[str, Any] = {"hidden_units": (8,), "seed": 0}
    spaces: Any = env.observation_space, env.action_space
    made: Any = kpg.models
    policy = made.Policy(*spaces, **small, **options)
    if shared:
        return policy, made.Critic(spaces[0], trunk=policy, seed=1)
    return policy, made.Critic(spaces[0], **small, **options)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("memory", [None, "gru"])
def test_the_models_are_asked_as_they_are(memory: str | None, shared: bool) -> None:
    policy, critic = models(memory, shared)
    state = policy.initial_state(B)
    rows = fragment(policy if memory is None else models(None, False)[0])
    rows = rows._replace(policy_state=state)
    trainer = kpg.trainers.ActorCritic(policy, critic, num_steps=T)
    trainer.compile("sgd", jit_compile=False)
    said: Any = outputs(policy, critic, batch_of(trainer, rows))
    parameters, _ = policy.unroll(rows.observations, state, resets(rows))
    values, _ = critic.unroll(rows.observations, state, resets(rows))
    log_probs = policy.family.log_prob(parameters, rows.actions)
    if memory is None:
        parameters, values, log_probs = flatten((parameters, values, log_probs))
    np.testing.assert_allclose(said.parameters, parameters, atol=1e-5)
    np.testing.assert_allclose(said.log_probs, log_probs, atol=1e-5)
    np.testing.assert_allclose(said.values, values, atol=1e-5)
    entropies = policy.family.entropy(parameters)
    np.testing.assert_allclose(said.entropies, entropies, atol=1e-5)
    again = tf.reshape(log_probs_of(policy, rows), tf.shape(said.log_probs))
    np.testing.assert_allclose(again, said.log_probs, atol=1e-5)
    assert outputs(policy, None, batch_of(trainer, rows)).values is None
