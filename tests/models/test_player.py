"""Acting by hand through whole episodes, with a memory or without."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from kpg.models import Player, Policy
from tests.texts import stirred

BOX = gym.spaces.Box(-np.inf, np.inf, (3,))


@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_a_memory_is_carried_by_the_caller_or_a_player(memory: str) -> None:
    space = gym.spaces.Box(-9.0, 9.0, (2,))
    policy = stirred(Policy(BOX, space, memory=memory, memory_units=4, seed=0))
    steps = np.random.default_rng(2).normal(size=(4, 5, 3)).astype("float32")
    begins = np.zeros((4, 5), bool)
    begins[2, 1] = True
    parameters, _ = policy.unroll(steps, policy.initial_state(5), tf.constant(begins))
    raw = policy.family.mode(tf.reshape(parameters, [20, -1]))
    wanted = np.reshape(policy.family.to_environment(raw), [4, 5, 2])
    player, alone, state = Player(policy), Player(policy), None
    for step in range(4):
        resets = begins[step] if step == 2 else None
        np.testing.assert_allclose(
            player.act(steps[step], resets), wanted[step], rtol=1e-4
        )
        reset = bool(begins[step, 1])
        np.testing.assert_allclose(
            alone.act(steps[step, 1], reset), wanted[step, 1], rtol=1e-4
        )
        action, state = policy.act(steps[step, 0], state)
        np.testing.assert_allclose(action, wanted[step, 0], rtol=1e-4)
    player.reset()
    np.testing.assert_allclose(player.act(steps[0]), wanted[0], rtol=1e-4)


def test_a_players_samples_follow_its_seed() -> None:
    policy = Policy(BOX, gym.spaces.Discrete(5), hidden_units=(8,), seed=0)

    def played(seed: int) -> list[int]:
        player = Player(policy, deterministic=False, seed=seed)
        return [player.act(np.ones(3)) for _ in range(12)]

    assert played(1) == played(1) != played(2)
    assert len({*played(1)}) > 1
