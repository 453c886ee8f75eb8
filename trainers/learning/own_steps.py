"""Episodes in which others acted between the steps of the policy."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from kpg.advantages.estimator import Estimates, Gains
from kpg.types import Tensor


def side_by_side(
    estimates: Estimates, valid: Tensor
) -> tuple[Estimates, Callable[[Gains], Gains]]:
    """Moves the policy's own steps next to each other; builds graph.

    For columns of one terminating episode each: what is not `valid` there was done by
    others, takes no time, and earns nothing. Returns the estimates with these rows
    last, and a function that moves what an estimator made of them back.
    """
    steps = tf.range(tf.shape(valid)[0])[:, tf.newaxis]
    order = tf.argsort(tf.where(valid, steps, steps + tf.shape(valid)[0]), axis=0)
    back = tf.argsort(order, axis=0)
    names = ("rewards", "values", "terminated", "truncated", "valid", "log_ratios")
    own = {
        name: _rows(part, order)
        for name, part in estimates.named(*names).items()
        if part is not None
    }
    own["next_values"] = tf.concat(
        [own["values"][1:], tf.zeros_like(own["values"][:1])], axis=0
    )

    def restored(gains: Gains) -> Gains:
        return Gains(*(None if part is None else _rows(part, back) for part in gains))

    return estimates._replace(**own), restored


def _rows(part: Tensor, order: Tensor) -> Tensor:
    """Returns `[T, B]` rows in another order for each column."""
    return keras.ops.take_along_axis(part, order, axis=0)
