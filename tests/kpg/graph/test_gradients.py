"""A gradient of one's own is used, and gone with its graph."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.graph.gradients import with_gradient


@with_gradient
def doubled(
    left: tf.Tensor, right: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
    """Returns a product whose gradient is twice as large as it should be."""
    return left * right, lambda upstream: (
        2.0 * upstream * right,
        2.0 * upstream * left,
    )


def gradients(left: tf.Tensor, right: tf.Tensor) -> Any:
    """Also out of a loop, whose gradient asks for it by name."""
    with tf.GradientTape() as tape:
        tape.watch([left, right])
        product = doubled(left, right)
        total = tf.while_loop(
            lambda index, _: index < 2,
            lambda index, sum_: (index + 1, sum_ + doubled(left, right)),
            (tf.constant(0), product),
        )[1]
    return total, tape.gradient(total, [left, right])


@pytest.mark.parametrize("graph", [False, True])
def test_it_is_used(graph: bool) -> None:
    function = tf.function(gradients, autograph=False) if graph else gradients
    total, found = function(tf.constant(3.0), tf.constant(5.0))
    np.testing.assert_allclose([total, *found], [3 * 15.0, 3 * 10.0, 3 * 6.0])


def test_it_is_gone_with_its_graph() -> None:
    with tf.Graph().as_default() as graph:
        left, right = tf.constant(3.0), tf.constant(5.0)
        (slope,) = tf.gradients(doubled(left, right), left)
        assert slope.graph is graph
    gone = weakref.ref(graph)
    del graph, left, right, slope
    gc.collect()
    assert gone() is None
