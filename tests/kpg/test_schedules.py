"""Factors of scheduled settings."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import kpg.schedules


def test_constant_is_one_throughout() -> None:
    progress = tf.constant([0.0, 0.3, 1.0])
    np.testing.assert_array_equal(kpg.schedules.factor("constant", progress), 1.0)


def test_linear_falls_from_one_to_zero() -> None:
    progress = tf.constant([0.0, 0.25, 1.0])
    found = kpg.schedules.factor("linear", progress)
    np.testing.assert_allclose(found, [1.0, 0.75, 0.0])


def test_linear_never_turns_negative() -> None:
    assert kpg.schedules.factor("linear", 1.5).numpy() == 0.0
    assert kpg.schedules.factor("linear", -0.5).numpy() == 1.0


@pytest.mark.parametrize("name", kpg.schedules.SCHEDULES)
def test_every_schedule_starts_at_one_and_runs_compiled(name: str) -> None:
    run = tf.function(kpg.schedules.factor, jit_compile=True)
    factor = run(name, tf.constant(0.0))
    assert factor.dtype == tf.float32
    assert factor.shape == ()
    assert factor.numpy() == 1.0


def test_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match=r"constant, linear.* Received: .*'cosine'"):
        kpg.schedules.factor("cosine", 0.0)
