"""Slots that are filled by whatever a runtime has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.models.language.decoding.tables import put, put_anywhere, sizes, widened

PROMPTS = [[2, 3, 3], [4], [3, 2, 4, 4, 2]]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("write", [put, put_anywhere])
def test_a_slot_is_filled(write: Any, axis: int) -> None:
    table = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    update = -np.ones_like(table).take([0], axis)
    right = table.copy()
    right[(slice(None),) * axis + (1,)] = -1.0
    got = write(tf.constant(table), tf.constant(update), tf.constant(1), axis)
    np.testing.assert_array_equal(got, right)


def test_a_table_grows_by_empty_slots() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.bool), tf.TensorSpec([])])
    def grown(table: tf.Tensor, extra: tf.Tensor) -> tf.Tensor:
        wide = widened(table, tf.cast(extra, tf.int32), axis=1)
        assert wide.shape.as_list() == [None, None]
        assert sizes(table)[1] == 2
        return wide

    got = grown(tf.constant([[True, True]]), tf.constant(2.0))
    np.testing.assert_array_equal(got, [[True, True, False, False]])
