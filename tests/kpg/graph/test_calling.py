"""Flat calls of functions that were traced once."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from kpg.graph.calling import FlatCall


def test_it_returns_what_the_function_does() -> None:
    weight, traced = tf.Variable([1.0, 2.0]), []

    def function(nest: Any, nothing: Any, number: Any) -> tuple[Any, ...]:
        traced.append(nothing)
        product = nest["b"][0] * weight
        return {"p": product, "s": (nest["a"] + number,)}, (), -number

    spec = tf.TensorSpec([None, 2])
    scalar = tf.TensorSpec([], tf.int32)
    call = FlatCall(function, [{"a": scalar, "b": (spec,)}, (), scalar])
    for count in (1, 3):
        rows = np.ones((count, 2), np.float32)
        one, two = np.array(2, np.int32), np.array(5, np.int32)
        named, nothing, negative = call({"a": one, "b": (rows,)}, (), two)
        np.testing.assert_array_equal(named["p"], rows * weight)
        assert (named["s"], nothing, negative) == ((7,), (), -5)
        assert isinstance(named["p"], np.ndarray)
        weight.assign([3.0, 4.0])
    assert traced == [()]
