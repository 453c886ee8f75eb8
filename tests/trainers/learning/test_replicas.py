"""What one replica learns from all rows, two learn from half of them each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg.trajectories import Trajectory
from tests.fragments import B, T, fragment, learn, values_of
from tests.world import Measured


@pytest.mark.parametrize("masked", [pytest.param(False, marks=pytest.mark.slow), True])
def test_two_replicas_learn_what_one_does(
    masked: bool, make_trainer: Callable[..., Any]
) -> None:
    """Advantages, clipping, rewards and both normalisers are of all replicas."""
    arguments: dict[str, Any] = {
        "num_steps": T,
        "num_epochs": 3,
        "minibatch_size": T * B,
        "max_grad_norm": 0.1,
        "ent_coef": 0.01,
        "normalize_rewards": True,
        "normalize_observations": True,
    }
    one = make_trainer(
        Measured,
        **arguments,
        optimizer=keras.optimizers.Adam(1e-2, global_clipnorm=0.05),
    )
    rows = fragment(one.policy, masked)
    _, expected = learn(one, rows, graph=True)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        two = make_trainer(
            Measured,
            **arguments,
            optimizer=keras.optimizers.Adam(1e-2, global_clipnorm=0.05),
        )

    def half(context: Any) -> Any:
        first = 2 * context.replica_id_in_sync_group
        fields = (
            None if f is None else f[:, first : first + 2]
            for f in rows[: Trajectory._fields.index("policy_state")]
        )
        return Trajectory(*fields)

    halves = strategy.experimental_distribute_values_from_function(half)
    _, metrics = learn(two, halves, graph=True)
    # Each replica explains the variance of its own rows.
    assert metrics["kl"] > 1e-3
    del metrics["explained_variance"], expected["explained_variance"]
    assert metrics == pytest.approx(expected, rel=1e-3, abs=1e-6)
    pairs = zip(values_of(two.weights), values_of(one.weights), strict=True)
    for got, want in pairs:
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)
