"""Numbers that are inputs: the arithmetic of constants, and one answer for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg import checks
from kpg.graph.inputs import Number


def number(*values: float) -> Any:
    """Returns a number that is now the last of its values."""
    return Number(
        "gamma", lambda: [*values], lambda: tf.constant(values[-1], "float64")
    )


@pytest.mark.parametrize(
    "expression",
    [
        lambda x: x * 0.95,
        lambda x: 1.0 - x,
        lambda x: x - 1.0 / 3.0,
        lambda x: 0.7 / x + x / 3,
        lambda x: 2 * x**2 + 1.1**x,
        lambda x: -x * x,
    ],
)
def test_arithmetic_is_python_s_and_rounded_once(
    expression: Callable[[Any], Any],
) -> None:
    vector = tf.constant([0.1, 3.7])
    wanted = expression(0.987654321)
    found = expression(number(0.3, 0.987654321))
    assert found.values() == [expression(0.3), wanted]
    np.testing.assert_array_equal(tf.convert_to_tensor(found), np.float32(wanted))
    works: list[Callable[[Any, Any], Any]] = [
        *(lambda a, b: a * b, lambda a, b: b - a, lambda a, b: a > b)
    ]
    for work in works:
        np.testing.assert_array_equal(work(found, vector), work(wanted, vector))
    np.testing.assert_array_equal(
        tf.where(vector > 1.0, 0.0, found), tf.where(vector > 1.0, 0.0, wanted)
    )


def test_questions_of_python_have_one_answer_for_all_values() -> None:
    both = number(0.5, 0.25)
    assert both and both > 0 and 0.0 <= both <= 1.0 and both != 1.0
    assert both != None and not both == None  # noqa: E711  # not a question of values
    assert both >= number(0.5, 0.1) and both < 2 * both
    assert checks.fraction("gamma", both) is both and checks.positive("x", both) is both
    for question in (
        lambda: both > 0.3,
        lambda: bool(number(0.0, 1.0)),
        lambda: float(both),
        lambda: int(both),
    ):
        with pytest.raises(
            ValueError, match=r"`gamma` decides.*one of|`gamma` decides"
        ):
            question()
