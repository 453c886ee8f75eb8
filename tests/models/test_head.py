"""A narrow head: what a dense layer computes, in fewer microseconds."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg.graph.compiling import compiled
from kpg.models.head import Head

FEATURES = np.random.default_rng(0).normal(size=(7, 5)).astype("float32")
UPSTREAM = np.random.default_rng(1).normal(size=(7, 12)).astype("float32")


def results(layer: Any, jit_compile: bool) -> list[Any]:
    """Returns outputs, and the gradients of features, kernel and bias."""

    def call(features: tf.Tensor) -> list[Any]:
        with tf.GradientTape() as tape:
            tape.watch(features)
            outputs = layer(features)
        sources = [features, *layer.trainable_variables]
        upstream = tf.constant(UPSTREAM[:, : layer.units])
        return [outputs, *tape.gradient(outputs, sources, upstream)]

    return list(compiled(call, jit_compile)(tf.constant(FEATURES)))


@pytest.mark.parametrize("jit_compile", [True, False])
@pytest.mark.parametrize("units", [1, 2, 3, 4, 12])
def test_it_is_a_dense_layer(units: int, jit_compile: bool) -> None:
    head, dense = Head(units), keras.layers.Dense(units)
    for layer in (head, dense):
        layer.build((None, 5))
    dense.set_weights(head.get_weights())
    for ours, theirs in zip(
        results(head, jit_compile), results(dense, False), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_only_a_narrow_one_sums_and_only_for_xla() -> None:
    def products(units: int, jit_compile: bool) -> int:
        head = Head(units)
        head.build((None, 5))

        def gradient(features: tf.Tensor) -> Any:
            with tf.GradientTape() as tape:
                outputs = head(features)
            return tape.gradient(outputs, head.trainable_variables)

        function = compiled(gradient, jit_compile)
        graph = function.get_concrete_function(tf.constant(FEATURES)).graph
        kinds = [operation.type for operation in graph.get_operations()]
        return kinds.count("Mul")

    assert products(2, True) > products(2, False) == products(5, True)
