"""Groups must be whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import kpg.advantages


@pytest.mark.parametrize(
    ("shape", "group_size"), [((12,), 5), ((12,), 1), ((3, 4), 4), ((12,), 0)]
)
def test_broken_groups_are_refused(shape: tuple[int, ...], group_size: int) -> None:
    with pytest.raises(ValueError, match="whole groups.* Received"):
        kpg.advantages.leave_one_out(np.zeros(shape), group_size)


@pytest.mark.parametrize(
    ("rewards", "advantages"),
    [
        ([1.0, 1.0, 1.0, None], [0.0, 0.0, 0.0, 0.0]),
        ([1.0, None, 4.0, 1.0], [-1.5, 0.0, 3.0, -1.5]),
        ([7.0, None, None, None], [0.0] * 4),
        ([None] * 4, [0.0] * 4),
    ],
)
def test_what_has_no_reward_has_no_part_in_its_group(
    rewards: list[float | None], advantages: list[float]
) -> None:
    valid = np.array([reward is not None for reward in rewards])
    for unknown in (0.0, np.nan):
        numbers = [unknown if reward is None else reward for reward in rewards]
        found = kpg.advantages.leave_one_out(numbers, 4, valid)
        np.testing.assert_allclose(found, advantages, atol=1e-6)
        # Another group does not notice.
        both = kpg.advantages.leave_one_out(
            [*numbers, 1.0, 2.0, 3.0, 6.0], 4, [*valid, *[True] * 4]
        )
        alone = kpg.advantages.leave_one_out([1.0, 2.0, 3.0, 6.0], 4)
        np.testing.assert_allclose(both, [*advantages, *alone], atol=1e-6)


def test_a_group_is_standardised_by_those_that_have_a_reward() -> None:
    rewards, valid = [-50.2, -50.0, -49.8, 0.0], [True, True, True, False]
    found = kpg.advantages.group_normalized(rewards, 4, valid)
    wanted = np.array([-1.0, 0.0, 1.0]) * 0.2 / (np.sqrt(0.08 / 3) + 1e-4)
    np.testing.assert_allclose(found, [*wanted, 0.0], atol=1e-4)
    alone = kpg.advantages.group_normalized(rewards[:3], 3)
    np.testing.assert_allclose(found[:3], alone, rtol=1e-6)


def test_the_batch_is_that_of_all_replicas() -> None:
    random = np.random.default_rng(0)
    rewards, valid = random.normal(3.0, 2.0, 8), np.arange(8) != 5
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

    def half(context: tf.distribute.ReplicaContext) -> tuple[tf.Tensor, tf.Tensor]:
        part = slice(4 * context.replica_id_in_sync_group, None)
        return tf.constant(rewards[part][:4], tf.float32), tf.constant(valid[part][:4])

    halves = strategy.experimental_distribute_values_from_function(half)

    @tf.function
    def scaled(halves: Any) -> Any:
        found = strategy.run(
            lambda r, v: kpg.advantages.group_normalized(r, 4, v, "batch"), halves
        )
        return tf.concat(strategy.experimental_local_results(found), axis=0)

    groups = np.ma.masked_array(rewards, ~valid).reshape(2, 4)
    centred = (groups - groups.mean(axis=1, keepdims=True)).filled(0.0).reshape(-1)
    wanted = centred / (rewards[valid].std() + 1e-4)
    np.testing.assert_allclose(scaled(halves), wanted, rtol=1e-5)
    # The mutant that divides by the spread of a replica's own rewards.
    assert not np.allclose(wanted[:4], centred[:4] / (rewards[:4].std() + 1e-4))
