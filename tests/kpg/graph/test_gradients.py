"""A gradient of one's own is used, and gone with its graph."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg.graph.gradients import recomputed, with_gradient


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


@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_what_is_computed_again_is_the_same(jit_compile: bool | None) -> None:
    learned = keras.Variable([[1.0, 2.0], [0.5, -1.0]])
    fixed = keras.Variable([3.0, -2.0], trainable=False)
    built: list[int] = []

    def function(left: tf.Tensor, right: tf.Tensor) -> Any:
        built.append(1)
        inner = tf.tanh(left @ learned) * fixed
        return inner, tf.reduce_sum(inner * right)

    left, right = tf.constant([[0.3, -0.4]]), tf.constant([[1.5, 2.5]])

    def ask(again: bool) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([left, right])
            call = recomputed if again else (lambda own, inputs, _: own(*inputs))
            inner, total = call(function, [left, right], [learned, fixed])
            loss = total + tf.reduce_sum(tf.square(inner))
        return loss, tape.gradient(loss, [left, right, learned.value])

    if jit_compile is not None:
        ask = tf.function(ask, autograph=False, jit_compile=jit_compile)
    (want, theirs), first = ask(False), len(built)
    loss, ours = ask(True)
    assert (first, len(built)) == (1, 3)
    np.testing.assert_allclose(loss, want, rtol=1e-6)
    for own, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-6)
