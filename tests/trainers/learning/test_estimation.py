"""What the algorithm is told of a trajectory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tests.fragments import B, T, estimates_of, fragment


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
