"""Minibatches cover every row once in each epoch."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kpg.trainers.learning.batches import Batch, shuffled, take


@pytest.mark.parametrize("size", [3, 12])
def test_every_epoch_covers_every_row_once(size: int) -> None:
    orders = shuffled(tf.constant([1, 2]), 12, 5, size).numpy()
    assert orders.shape == (5 * 12 // size, size)
    for epoch in orders.reshape(5, 12):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(12))


def test_epochs_and_seeds_shuffle_differently() -> None:
    first = shuffled(tf.constant([1, 2]), 64, 2, 8).numpy().reshape(2, 64)
    other = shuffled(tf.constant([1, 3]), 64, 2, 8).numpy().reshape(2, 64)
    assert (first[0] != first[1]).mean() > 0.5
    assert (first[0] != other[0]).mean() > 0.5


def test_take_keeps_what_is_not_there() -> None:
    rows = tf.range(4)
    batch = Batch(
        observations={"a": rows},
        actions=rows,
        log_probs=rows,
        values=rows,
        valid=None,
        resets=None,
        states=(),
    )
    taken = take(batch, tf.constant([3, 1]))
    np.testing.assert_array_equal(taken.observations["a"], [3, 1])
    assert taken.valid is None and taken.weights is None


def test_sequences_stay_whole() -> None:
    rows = tf.reshape(tf.range(12), [3, 4])
    state = (tf.range(4), ())
    batch = Batch(
        observations=(rows, rows),
        actions=rows,
        log_probs=rows,
        values=rows,
        valid=rows,
        resets=rows > 4,
        states=state,
    )
    taken = take(batch, tf.constant([3, 1]))
    expected = [[3, 1], [7, 5], [11, 9]]
    np.testing.assert_array_equal(taken.observations[1], expected)
    np.testing.assert_array_equal(taken.valid, expected)
    assert taken.weights is None
    np.testing.assert_array_equal(taken.states[0], [3, 1])
