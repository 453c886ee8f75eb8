"""The loop over time against a Python loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.graph.scan import decayed_sums, scan
from tests.programs import passes


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_equals_a_python_loop(reverse: bool, jit_compile: bool | None) -> None:
    inputs = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")

    def step(carry: tf.Tensor, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return 0.5 * carry + row, carry * row

    def summed(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return scan(step, tf.ones([3]), rows, reverse=reverse)

    compiled = summed
    if jit_compile is not None:
        compiled = tf.function(summed, jit_compile=jit_compile, autograph=False)

    carry, expected = np.ones(3, "float32"), np.zeros_like(inputs)
    for index in reversed(range(5)) if reverse else range(5):
        carry, expected[index] = 0.5 * carry + inputs[index], carry * inputs[index]
    result_carry, outputs = compiled(tf.constant(inputs))
    np.testing.assert_allclose(result_carry, carry, rtol=1e-6)
    np.testing.assert_allclose(outputs, expected, rtol=1e-6)


@pytest.mark.parametrize("in_graph", [False, True])
def test_outputs_need_not_look_like_the_carry(in_graph: bool) -> None:
    def count() -> Any:
        return scan(lambda carry, _: (carry + 1, (carry, carry > 1)), 0, None, length=4)

    carry, (counts, flags) = (tf.function(count) if in_graph else count)()
    assert carry == 4
    np.testing.assert_array_equal(counts, [0, 1, 2, 3])
    np.testing.assert_array_equal(flags, [False, False, True, True])


@pytest.mark.parametrize("in_graph", [False, True])
def test_gradients_flow_through_time(in_graph: bool) -> None:
    rows = tf.constant([1.0, 2.0, 3.0])

    def product(rows: tf.Tensor) -> tf.Tensor:
        return scan(lambda carry, row: (carry * row, carry), 1.0, rows)[0]

    with tf.GradientTape() as tape:
        tape.watch(rows)
        carry = (tf.function(product) if in_graph else product)(rows)
    np.testing.assert_allclose(tape.gradient(carry, rows), [6.0, 3.0, 2.0])


def test_xla_knows_how_often_the_loop_runs() -> None:
    """Else the host of a GPU waits after every pass to learn whether one follows."""

    @tf.function(jit_compile=True, autograph=False)
    def sums(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return scan(lambda carry, row: (carry + row, carry), tf.zeros([3]), rows)

    assert passes(sums, tf.zeros([50, 3])) == [50]


@pytest.mark.parametrize("length", [None, 0])
def test_refuses_an_unknown_number_of_steps(length: int | None) -> None:
    with pytest.raises(ValueError, match=r"needs at least one step.*Received: length="):
        scan(lambda carry, _: (carry, carry), 0, None, length=length)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("batch", [3, 2**14])  # in rounds, and in a loop
def test_decayed_sums_are_the_recursion(batch: int, reverse: bool) -> None:
    rng = np.random.default_rng(0)
    terms = rng.normal(size=[5, batch]).astype(np.float32)
    decays = rng.choice([0.0, 0.5, 0.9], size=[5, batch]).astype(np.float32)
    total, expected = np.zeros(batch, np.float32), np.zeros_like(terms)
    for t in reversed(range(5)) if reverse else range(5):
        total = expected[t] = terms[t] + decays[t] * total
    sums = decayed_sums(tf.constant(terms), tf.constant(decays), reverse=reverse)
    np.testing.assert_allclose(sums, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("batch", [1, 2**14])
def test_a_decay_of_zero_keeps_nan_from_other_sums(batch: int, reverse: bool) -> None:
    terms = tf.constant([[1.0], [float("nan")], [2.0], [3.0]]) * tf.ones([1, batch])
    decays = tf.constant([[0.5], [0.5], [0.0], [0.5]]) * tf.ones([1, batch])
    if reverse:
        terms, decays = terms[::-1], decays[::-1]
    sums = decayed_sums(terms, decays, reverse=reverse)[:, 0]
    expected = [1.0, np.nan, 2.0, 4.0]
    np.testing.assert_array_equal(sums[::-1] if reverse else sums, expected)
