"""What the gradient steps are made of."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kpg.trainers.learning.minibatches import global_norm


@pytest.mark.parametrize("xla", [True, False])
def test_the_global_norm_is_that_of_all_numbers_together(xla: bool) -> None:
    rng = np.random.default_rng(0)
    shapes = [(64, 64), (64,), (64, 1), (3, 3, 4, 8), (), (1,)]
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    expected = np.linalg.norm(np.concatenate([array.reshape(-1) for array in arrays]))
    norm = tf.function(global_norm, jit_compile=xla)([tf.constant(a) for a in arrays])
    np.testing.assert_allclose(norm, expected, rtol=1e-5)


def test_the_global_norm_counts_the_rows_of_sparse_gradients() -> None:
    rows = tf.IndexedSlices(tf.constant([[3.0], [4.0]]), tf.constant([0, 7]))
    np.testing.assert_allclose(global_norm([rows, tf.constant(12.0)]), 13.0)


def test_a_broken_gradient_has_no_norm() -> None:
    norm = global_norm([tf.constant([[1.0, float("nan")]]), tf.constant([1.0])])
    assert np.isnan(norm)
