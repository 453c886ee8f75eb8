"""What one replica learns from all rows, two learn from half of them each."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg.trainers.learning.replicas import fold_in, workers_of
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
    _, expected = learn(one, rows)
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
    assert metrics["kl"] > 1e-3
    assert metrics == pytest.approx(expected, rel=1e-3, abs=1e-6)
    pairs = zip(values_of(two.weights), values_of(one.weights), strict=True)
    for got, want in pairs:
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("cluster", "kind", "index", "place"),
    [
        ({}, "worker", 0, (0, 1)),
        ({"worker": ["a:1"]}, "worker", 0, (0, 1)),
        ({"worker": ["a:1", "b:1"]}, "worker", 1, (1, 2)),
        ({"worker": ["a:1", "b:1"], "chief": ["c:1"]}, "chief", 0, (0, 3)),
        ({"worker": ["a:1", "b:1"], "chief": ["c:1"]}, "worker", 1, (2, 3)),
    ],
)
def test_the_chief_is_the_first_worker(
    cluster: dict[str, list[str]], kind: str, index: int, place: tuple[int, int]
) -> None:
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(cluster), task_type=kind, task_id=index
    )
    assert workers_of(SimpleNamespace(cluster_resolver=resolver)) == place
    assert workers_of(tf.distribute.get_strategy()) == (0, 1)


def test_a_seed_is_the_first_ones_own() -> None:
    seed = tf.constant([5, -6])
    seeds = {tuple(fold_in(seed, number).numpy()) for number in range(9)}
    assert len(seeds) == 9
    np.testing.assert_array_equal(fold_in(seed, 0), seed)
