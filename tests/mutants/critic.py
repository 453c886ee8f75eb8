"""The critic's loss: what must hold, and how it goes wrong."""

from __future__ import annotations

from functools import partial
from typing import Any

import tensorflow as tf

import kpg
from tests.mutants.subject import Array, Implementation, Subject, close, gradient


def of(loss: Implementation, *rows: list[float], **options: Any) -> Array:
    return loss(*(tf.constant(row) for row in rows), **options)


def half_the_squared_error(loss: Implementation) -> None:
    close(of(loss, [1.0, 4.0], [0.0, 2.0]), 0.5 * (1.0 + 4.0) / 2)
    close(gradient(lambda x: loss(x, tf.constant([0.0, 2.0])), [1.0, 4.0]), [0.5, 1.0])


def clipped_values_take_the_larger_error(loss: Implementation) -> None:
    old: dict[str, Any] = {"old_values": tf.constant([0.0]), "clip_range": 0.2}
    # Moved by 1 towards the target 1: as if only by 0.2, an error of 0.8 is left.
    close(of(loss, [1.0], [1.0], **old), 0.5 * 0.8**2)
    # Moved away from the target −1: the true error, 2, is the larger one.
    close(of(loss, [1.0], [-1.0], **old), 0.5 * 2.0**2)
    # Moved by less than the clip: no difference.
    close(of(loss, [0.1], [1.0], **old), 0.5 * 0.9**2)


def moves_away_from_the_target_are_pulled_back(loss: Implementation) -> None:
    def clipped(values: tf.Tensor) -> tf.Tensor:
        old = tf.constant([0.0])
        return loss(values, tf.constant([-1.0]), old_values=old, clip_range=0.2)

    close(gradient(clipped, [1.0]), [2.0])
    close(gradient(clipped, [-0.5]), [0.0])


def only_the_critic_has_a_gradient(loss: Implementation) -> None:
    rows = [tf.constant(row) for row in ([1.0, 4.0], [0.0, 2.0], [0.9, 3.5])]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(rows)
        losses = [
            loss(*rows[:2]),
            loss(*rows[:2], old_values=rows[2], clip_range=1.0),
        ]
    for result in losses:
        first, *others = tape.gradient(result, rows)
        assert first is not None and others == [None, None]


def wrong(
    values: tf.Tensor,
    targets: tf.Tensor,
    *,
    old_values: tf.Tensor | None = None,
    clip_range: float | None = None,
    half: float = 0.5,
    choose: Implementation = tf.maximum,
    total: bool = False,
    frozen: bool = True,
    around_targets: bool = False,
) -> tf.Tensor:
    """The loss again; each option, changed, makes a mutant of it."""
    reduce = tf.reduce_sum if total else tf.reduce_mean
    if frozen:
        targets = tf.stop_gradient(targets)
    losses = tf.square(values - targets)
    if old_values is not None and clip_range is not None:
        old_values = tf.stop_gradient(old_values)
        center = targets if around_targets else old_values
        moved = center + tf.clip_by_value(values - center, -clip_range, clip_range)
        losses = choose(losses, tf.square(moved - targets))
    return half * reduce(losses)


VALUE = Subject(
    name="kpg.losses.value",
    shipped=kpg.losses.value,
    identities=(
        half_the_squared_error,
        clipped_values_take_the_larger_error,
        moves_away_from_the_target_are_pulled_back,
        only_the_critic_has_a_gradient,
    ),
    mutants={
        "no half": partial(wrong, half=1.0),
        "sum for mean": partial(wrong, total=True),
        "no maximum": partial(wrong, choose=lambda free, clipped: clipped),
        "minimum for maximum": partial(wrong, choose=tf.minimum),
        "not clipped": partial(wrong, choose=lambda free, clipped: free),
        "clipped around the targets": partial(wrong, around_targets=True),
        "gradient through the targets": partial(wrong, frozen=False),
    },
    right=wrong,
)
