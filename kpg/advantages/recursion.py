"""The recursion from the last row to the first that the estimators share."""

from __future__ import annotations

import tensorflow as tf

from kpg.graph.scan import scan


def decayed_sum(terms: tf.Tensor, decays: tf.Tensor) -> tf.Tensor:
    """Returns sₜ = termsₜ + decaysₜ · sₜ₊₁, computed from the last row to the first."""

    def step(following: tf.Tensor, row: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        term, decay = row
        # Not `decay * following`: a masked row after an episode may hold nan or inf.
        total = term + unless(tf.equal(decay, 0.0), decay * following)
        return total, total

    return scan(step, tf.zeros_like(terms[0]), (terms, decays), reverse=True)[1]


def unless(condition: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Returns `values`, with 0 where the condition holds; 0 · nan would be nan."""
    return tf.where(condition, 0.0, values)
