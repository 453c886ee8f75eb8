"""Adding up the gradients of parts: what must hold, and how it goes wrong."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kpg import losses
from kpg.trainers.learning.batches import Batch, take
from kpg.trainers.learning.micro_batches import in_turn
from tests.mutants.subject import Array, Implementation, Subject, close

RANDOM = np.random.default_rng(0)
ROWS, START = RANDOM.normal(size=[2, 6]).astype(np.float32), np.float32(0.5)
# Parts of two: both rows count, one does, none does.
VALID = np.array([True, True, False, True, False, False])
OTHER = np.array([True, False, True, True, False, True])


def batch(valid: Array | None) -> Batch:
    rows = tf.constant(ROWS[0])
    mask = None if valid is None else tf.constant(valid)
    states: tuple[Any, ...] = ((), ())
    return Batch(rows, rows, rows, tf.constant(ROWS[1]), mask, None, states)


def summed(implementation: Implementation, valid: Array | None) -> tuple[Array, Array]:
    """Returns the gradient of the mean of (w·x − y)², and that mean as a metric."""
    weight, idle = keras.Variable(START), keras.Variable(START)

    def of_rows(rows: Batch, share: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            errors = tf.square(weight * rows.log_probs - rows.values)
            mean = losses.mean(errors, rows.valid)
            loss = share * mean
        return [tape.gradient(loss, weight.value), None], share * tf.stack([mean])

    found, values = implementation(of_rows, batch(valid), 2, [weight, idle], 1)
    assert found[1] is None
    return found[0], values[0]


def by_hand(valid: Array | None) -> tuple[Array, Array]:
    own = np.ones(6, bool) if valid is None else valid
    x, y = ROWS[:, own].astype(np.float64)
    errors = START * x - y
    return np.mean(2.0 * errors * x), np.mean(errors**2)


def it_is_the_gradient_of_the_whole(implementation: Implementation) -> None:
    for valid in (None, VALID, OTHER):
        close(summed(implementation, valid)[0], by_hand(valid)[0], 1e-6)


def its_metrics_are_those_of_the_whole(implementation: Implementation) -> None:
    for valid in (None, VALID, OTHER):
        close(summed(implementation, valid)[1], by_hand(valid)[1], 1e-6)


def wrong(
    of_rows: Any,
    rows: Batch,
    size: int,
    variables: Any,
    num_metrics: int,
    *,
    alike: bool = False,
    mean: bool = True,
    left_out: int = 0,
    last_metric: bool = False,
) -> tuple[Any, Any]:
    """The sum again, part by part; each option, changed, makes a mutant of it."""
    count = len(ROWS[0])
    counts = np.ones(count) if rows.valid is None else rows.valid.numpy()
    total, metric = 0.0, tf.zeros([num_metrics])
    for start in range(0, count - left_out, size):
        part = slice(start, start + size)
        share = counts[part].sum() / counts.sum() if not alike else size / count
        share = share if mean else float(counts[part].any())
        own = take(rows, tf.range(start, start + size))
        found, values = of_rows(own, tf.constant(share, tf.float32))
        total, metric = total + found[0], values if last_metric else metric + values
    return [total, None], metric


MICRO_BATCHES = Subject(
    name="kpg.trainers.learning.micro_batches.in_turn",
    shipped=in_turn,
    identities=(it_is_the_gradient_of_the_whole, its_metrics_are_those_of_the_whole),
    mutants={
        "parts weigh the same": partial(wrong, alike=True),
        "sum of the parts' means": partial(wrong, mean=False),
        "last part left out": partial(wrong, left_out=2),
        "metrics of the last part": partial(wrong, last_metric=True),
    },
    right=wrong,
)
