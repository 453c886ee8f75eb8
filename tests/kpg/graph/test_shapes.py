"""The static shape check."""

from __future__ import annotations

import pytest
import tensorflow as tf

from kpg.graph.shapes import assert_same_shape


def test_equal_and_unknown_shapes_pass() -> None:
    assert_same_shape(
        a=tf.zeros([8, 4]), b=tf.ones([8, 4]), c=tf.zeros([8, 4], tf.bool)
    )

    @tf.function(input_signature=[tf.TensorSpec([None, 4])])
    def run(rows: tf.Tensor) -> tf.Tensor:
        assert_same_shape(rows=rows, others=tf.zeros([8, 4]))
        return rows

    assert run(tf.zeros([8, 4])).shape == (8, 4)


def test_the_text_names_the_tensor_the_shapes_and_what_to_do() -> None:
    with pytest.raises(ValueError, match="Received") as caught:
        assert_same_shape(rewards=tf.zeros([8, 4]), values=tf.zeros([8, 1]))
    text = str(caught.value)
    for part in ("`values`", "`rewards`", "(8, 4)", "(8, 1)", "Squeeze or expand"):
        assert part in text


def test_the_check_adds_no_operation() -> None:
    def run(rows: tf.Tensor, check: bool) -> tf.Tensor:
        if check:
            assert_same_shape(rows=rows, again=rows)
        return rows + 1.0

    with_check, without = (
        tf.function(run).get_concrete_function(tf.TensorSpec([8, 4]), check)
        for check in (True, False)
    )
    assert len(with_check.graph.get_operations()) == len(without.graph.get_operations())
