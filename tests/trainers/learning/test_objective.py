"""What gradient steps minimise."""

from __future__ import annotations

import unittest.mock
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.advantages import Gains
from tests.fragments import B, T, fragment, learn, values_of


def test_a_shared_regulariser_counts_once() -> None:
    space = gym.spaces.Box(-9.0, 9.0, (4,))
    layer = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.5))
    net = keras.Sequential([keras.Input((4,)), layer])
    policy = kpg.models.Policy(space, gym.spaces.Discrete(3), backbone=net)
    critic = kpg.models.Critic(space, backbone=net)
    trainer = kpg.trainers.ActorCritic(policy, critic, num_steps=T)
    trainer.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    want = 0.5 * float(tf.reduce_sum(tf.square(layer.kernel)))
    _, metrics = learn(trainer, fragment(policy))
    got = metrics["loss"] - metrics["policy_loss"] - 0.5 * metrics["value_loss"]
    assert got == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("constant", [0.1, 50.2, -3e4])
def test_equal_advantages_teach_nothing(constant: float, make_trainer: Any) -> None:
    """Scaled up, the rounding of their mean would count as an advantage of 1."""
    trainer = make_trainer("PPO", num_steps=T, minibatch_size=T * B, vf_coef=0.0)
    rows = fragment(trainer.policy)
    before, same = (
        values_of(trainer.policy.trainable_variables),
        tf.fill([T, B], constant),
    )
    with unittest.mock.patch.object(
        type(trainer), "estimate", lambda *_: Gains(same, same)
    ):
        learn(trainer, rows)
    after = values_of(trainer.policy.trainable_variables)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
