"""A check for advantage estimators."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from kpg.advantages.estimator import Estimates, Estimator, Gains
from kpg.graph.compiling import traceable
from kpg.types import Array, Tensor

_STEPS, _COPIES = 7, 5


def check_estimator(estimator: Estimator, gamma: float = 0.9, seed: int = 0) -> None:
    """Tries an advantage estimator on random experience.

    Args:
        estimator: The estimator.
        gamma: Discount in [0, 1]. Defaults to 0.9.
        seed: Of the experience. Defaults to 0.

    Raises:
        AssertionError: If shapes or dtypes are wrong; results are not finite; what
            follows an end, or another environment's column, is read; results in a graph
            differ; or the estimator does not survive being saved.
    """
    estimates = _experience(np.random.default_rng(seed))
    gains = _gains(estimator, estimates, gamma)
    _check_shapes(gains)
    in_graph = traceable(lambda: estimator.gains(estimates, gamma))
    everywhere = np.ones((_STEPS, _COPIES), bool)
    _check_equal(gains, in_graph(), "in a graph it gives other results", everywhere)

    unread = tf.where(estimates.terminated, float("nan"), estimates.next_values)
    other = _gains(estimator, estimates._replace(next_values=unread), gamma)
    fault = "it reads `next_values` where an episode terminated"
    _check_equal(gains, other, fault, everywhere)

    changed = estimates._replace(rewards=estimates.rewards + tf.one_hot(0, _COPIES))
    other, others = _gains(estimator, changed, gamma), np.arange(_COPIES) > 0
    fault = "a column depends on another environment's"
    _check_equal(gains, other, fault, everywhere & others)

    ended = tf.cast(estimates.terminated | estimates.truncated, tf.int32)
    first = tf.cumsum(ended, exclusive=True) == 0
    changed = estimates._replace(rewards=tf.where(first, estimates.rewards, 9.0))
    other = _gains(estimator, changed, gamma)
    _check_equal(gains, other, "a step depends on later episodes", first.numpy())
    _check_saved(estimator)


def _experience(rng: np.random.Generator) -> Estimates:
    shape = (_STEPS, _COPIES)

    def normal() -> Tensor:
        return tf.constant(rng.normal(size=shape), tf.float32)

    terminated, truncated = np.zeros((2, *shape), bool)
    terminated[3, ::2] = True
    truncated[3, 1::2] = True
    return Estimates(
        rewards=normal(),
        values=normal(),
        next_values=normal(),
        terminated=tf.constant(terminated),
        truncated=tf.constant(truncated),
        log_ratios=0.3 * normal(),
        valid=tf.ones(shape, tf.bool),
    )


def _gains(estimator: Estimator, estimates: Estimates, gamma: float) -> Gains:
    gains = estimator.gains(estimates, gamma)
    if not isinstance(gains, Gains):
        kind = type(gains).__name__
        raise AssertionError(f"`gains` must return `Gains`. Received: {kind}")
    return gains


def _check_shapes(gains: Gains) -> None:
    for name, rows in gains._asdict().items():
        if rows is None:
            if name not in ("advantages", "targets"):
                continue
            raise AssertionError(f"`{name}` must be a tensor. Received: None")
        shape, dtype = tuple(rows.shape), tf.as_dtype(rows.dtype)
        wanted = tf.bool if name == "learned" else tf.float32
        if shape != (_STEPS, _COPIES) or dtype != wanted:
            raise AssertionError(
                f"`{name}` must be {wanted.name} of the shape [T, B] of the rewards, "
                f"{(_STEPS, _COPIES)}. Received: {dtype.name} of shape {shape}"
            )
        if not np.isfinite(rows).all():
            raise AssertionError(f"`{name}` must be finite. Received: inf or nan")


def _check_equal(wanted: Gains, received: Gains, fault: str, mask: Array) -> None:
    for name in ("advantages", "targets"):
        left, right = (np.asarray(getattr(g, name))[mask] for g in (wanted, received))
        if not np.allclose(left, right, rtol=1e-4, atol=1e-5):
            raise AssertionError(
                f"The estimator is wrong: {fault}. Received: {name} that differ by "
                f"{np.max(np.abs(left - right)):.3g}"
            )


def _check_saved(estimator: Estimator) -> None:
    saved = keras.saving.serialize_keras_object(estimator)
    again = keras.saving.deserialize_keras_object(saved)
    if again != estimator:
        raise AssertionError(
            "An estimator must be equal after saving: a frozen dataclass, registered "
            f"as Keras's serializable. Received: {again!r} for {estimator!r}"
        )
