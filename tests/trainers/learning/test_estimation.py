"""What the algorithm is told of a trajectory."""

from __future__ import annotations

import unittest.mock
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.advantages import Gains
from tests.fragments import B, T, estimates_of, fragment, learn


def test_next_values_are_those_of_the_true_next_observations(
    make_trainer: Callable[..., Any],
) -> None:
    trainer = make_trainer("PPO", num_steps=T, minibatch_size=T * B)
    rows = fragment(trainer.policy)
    estimates, _ = estimates_of(trainer, rows)
    critic = trainer.critic
    naive = tf.reshape(critic(tf.reshape(rows.observations, [-1, 4])), [T, B])
    np.testing.assert_allclose(estimates.values, naive, rtol=1e-5)
    naive = tf.reshape(critic(tf.reshape(rows.next_observations, [-1, 4])), [T, B])
    alive = ~rows.terminated.numpy()
    assert (alive & rows.truncated.numpy()).any()
    np.testing.assert_allclose(
        estimates.next_values.numpy()[alive], naive.numpy()[alive], rtol=1e-5
    )


@pytest.mark.parametrize("constant", [0.1, 50.2, -3e4])
def test_equal_targets_have_nothing_to_explain(
    constant: float, make_trainer: Callable[..., Any]
) -> None:
    """Their mean is rounded, but that is no variance."""
    trainer = make_trainer("PPO", num_steps=T, minibatch_size=T * B)
    rows = fragment(trainer.policy)
    same = tf.fill([T, B], constant)
    with unittest.mock.patch.object(
        type(trainer), "estimate", lambda *_: Gains(same, same)
    ):
        _, metrics = learn(trainer, rows)
    assert metrics["explained_variance"] == 0.0
