"""PPO's surrogate: what must hold, and how it goes wrong."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

import kpg
from tests.mutants.policy_gradient import LOGITS, REWARDS, VALID
from tests.mutants.subject import (
    Array,
    Implementation,
    Subject,
    close,
    gradient,
    softmax,
)

CLIP = {"clip_range": 0.2}


def at(loss: Implementation, ratio: float, advantage: float, **options: Any) -> Array:
    rows = np.log([ratio]), [0.0], [advantage]
    return loss(*(tf.constant(row, tf.float32) for row in rows), **CLIP | options)


def slope(
    loss: Implementation, ratio: float, advantage: float, **options: Any
) -> Array:
    """Returns the gradient with respect to the ratio itself."""

    def of_ratio(point: tf.Tensor) -> tf.Tensor:
        rows = tf.math.log(point), tf.constant([0.0]), tf.constant([advantage])
        return loss(*rows, **CLIP | options)

    return gradient(of_ratio, [ratio])


def worked_example_is_6(loss: Implementation) -> None:
    """Ratio 1.2, advantage 5, ε 0.2: min(1.2 · 5, clip(1.2, 0.8, 1.2) · 5) = 6."""
    close(-at(loss, 1.2, 5.0), 6.0)


def corners_are_those_of_the_paper(loss: Implementation) -> None:
    # Above the edge nothing more is gained, below it everything counts.
    close(at(loss, 1.5, 5.0), -6.0)
    close(at(loss, 0.5, 5.0), -2.5)
    # With a negative advantage the other way round.
    close(at(loss, 1.5, -5.0), 7.5)
    close(at(loss, 0.5, -5.0), 4.0)


def at_ratio_1_it_is_the_policy_gradient(loss: Implementation) -> None:
    log_probs = np.log(softmax(LOGITS))
    old, rewards = tf.constant(log_probs), tf.constant(REWARDS)
    for dual_clip in (None, 3.0):
        bound = partial(
            loss, old_log_probs=old, advantages=rewards, dual_clip=dual_clip, **CLIP
        )
        close(
            gradient(bound, log_probs),
            gradient(lambda x: kpg.losses.policy_gradient(x, rewards), log_probs),
        )


def outside_the_clip_only_the_penalty_pulls(loss: Implementation) -> None:
    for ratio, advantage, expected in (
        (1.73, 1.0, 0.0),
        (1.73, -1.0, 1.0),
        (0.5, 1.0, -1.0),
        (0.5, -1.0, 0.0),
        (1.1, 1.0, -1.0),
        (0.9, -1.0, 1.0),
    ):
        close(slope(loss, ratio, advantage), [expected])


def without_a_clip_it_is_the_ratio(loss: Implementation) -> None:
    for ratio, advantage in ((1.73, 1.0), (0.2, -2.0), (5.0, -1.0)):
        close(at(loss, ratio, advantage, clip_range=None), -ratio * advantage)


def dual_clip_bounds_the_penalty_only(loss: Implementation) -> None:
    for ratio, advantage, objective, pull in (
        (5.0, -2.0, -6.0, 0.0),  # beyond c = 3 it costs no more
        (2.0, -2.0, -4.0, 2.0),
        (0.5, -2.0, -1.6, 0.0),
        (5.0, 2.0, 2.4, 0.0),  # a gain is clipped as before
        (0.5, 2.0, 1.0, -2.0),
    ):
        close(at(loss, ratio, advantage, dual_clip=3.0), -objective)
        close(slope(loss, ratio, advantage, dual_clip=3.0), [pull])


def a_higher_end_lets_gains_go_further(loss: Implementation) -> None:
    for ratio, advantage, objective, pull in (
        (1.25, 1.0, 1.25, -1.0),  # beyond 1 + ε, not beyond the higher end
        (1.5, 1.0, 1.28, 0.0),
        (0.79, -1.0, -0.8, 0.0),  # below 1 the range stays ε
        (1.5, -1.0, -1.5, 1.0),
    ):
        close(at(loss, ratio, advantage, clip_range_high=0.28), -objective)
        close(slope(loss, ratio, advantage, clip_range_high=0.28), [pull])


def masked_rows_do_not_count(loss: Implementation) -> None:
    arrays = np.log([1.1, 9.0, 0.3, 0.9]), np.zeros(4), np.array([1.0, -9.0, -2.0, 3.0])
    rows = [tf.constant(array, tf.float32) for array in arrays]
    kept = [tf.boolean_mask(array, VALID) for array in rows]
    close(loss(*rows, valid=VALID, **CLIP), loss(*kept, **CLIP))


def only_the_policy_has_a_gradient(loss: Implementation) -> None:
    arrays = [np.log(softmax(LOGITS)), np.log(softmax(-LOGITS)), REWARDS]
    rows = [tf.constant(array, tf.float32) for array in arrays]
    with tf.GradientTape() as tape:
        tape.watch(rows)
        result = loss(*rows, clip_range=0.9)
    first, *others = tape.gradient(result, rows)
    assert np.abs(first).max() > 0.0
    assert others == [None, None]


def chosen(ratios: tf.Tensor, clipped: tf.Tensor, advantages: tf.Tensor) -> tf.Tensor:
    return tf.minimum(ratios * advantages, clipped * advantages)


def on_the_logarithm(ratios: tf.Tensor, clip_range: float, _: object) -> tf.Tensor:
    return tf.exp(tf.clip_by_value(tf.math.log(ratios), -clip_range, clip_range))


def both_sides(
    ratios: tf.Tensor, clip_range: float, high: float | None = None
) -> tf.Tensor:
    return tf.clip_by_value(ratios, 1.0 - clip_range, 1.0 + (high or clip_range))


def for_negative(gains: tf.Tensor, advantages: tf.Tensor, bound: float) -> tf.Tensor:
    bounded = tf.maximum(gains, bound * advantages)
    return tf.where(advantages < 0.0, bounded, gains)


def wrong(
    log_probs: tf.Tensor,
    old_log_probs: tf.Tensor,
    advantages: tf.Tensor,
    *,
    clip_range: float | None,
    clip_range_high: float | None = None,
    dual_clip: float | None = None,
    valid: Array | None = None,
    choose: Implementation = chosen,
    clip: Implementation = both_sides,
    dual: Implementation = for_negative,
    frozen: bool = True,
    sign: float = -1.0,
    always: float | None = None,
) -> tf.Tensor:
    """The loss again; each option, changed, makes a mutant of it."""
    advantages = tf.stop_gradient(advantages)
    old_log_probs = tf.stop_gradient(old_log_probs) if frozen else old_log_probs
    ratios = tf.exp(log_probs - old_log_probs)
    gains = ratios * advantages
    clip_range = always if clip_range is None else clip_range
    if clip_range is not None:
        gains = choose(ratios, clip(ratios, clip_range, clip_range_high), advantages)
    if dual_clip is not None:
        gains = dual(gains, advantages, dual_clip)
    return sign * tf.reduce_mean(gains if valid is None else gains[valid])


SURROGATE = Subject(
    name="kpg.losses.clipped_surrogate",
    shipped=kpg.losses.clipped_surrogate,
    identities=(
        worked_example_is_6,
        corners_are_those_of_the_paper,
        at_ratio_1_it_is_the_policy_gradient,
        outside_the_clip_only_the_penalty_pulls,
        without_a_clip_it_is_the_ratio,
        dual_clip_bounds_the_penalty_only,
        a_higher_end_lets_gains_go_further,
        masked_rows_do_not_count,
        only_the_policy_has_a_gradient,
    ),
    mutants={
        "maximum for minimum": partial(
            wrong, choose=lambda r, c, a: tf.maximum(r * a, c * a)
        ),
        "minimum of the ratios": partial(
            wrong, choose=lambda r, c, a: tf.minimum(r, c) * a
        ),
        "no minimum": partial(wrong, choose=lambda r, c, a: c * a),
        "not clipped": partial(wrong, choose=lambda r, c, a: r * a),
        "clipped on the logarithm": partial(wrong, clip=on_the_logarithm),
        "clipped above only": partial(
            wrong, clip=lambda r, e, h: tf.minimum(r, 1.0 + (h or e))
        ),
        "clipped below only": partial(
            wrong, clip=lambda r, e, _: tf.maximum(r, 1.0 - e)
        ),
        "higher end ignored": partial(
            wrong, clip=lambda r, e, _: tf.clip_by_value(r, 1.0 - e, 1.0 + e)
        ),
        "higher end below, too": partial(
            wrong, clip=lambda r, e, h: both_sides(r, h or e)
        ),
        "wrong sign": partial(wrong, sign=1.0),
        "gradient through old log-probs": partial(wrong, frozen=False),
        "clipped when it should not": partial(wrong, always=0.2),
        "mask ignored": lambda *rows, valid=None, **options: wrong(*rows, **options),
        "dual clip ignored": partial(wrong, dual=lambda gains, a, c: gains),
        "dual clip of gains too": partial(
            wrong, dual=lambda gains, a, c: tf.maximum(gains, c * a)
        ),
        "dual clip by minimum": partial(
            wrong,
            dual=lambda gains, a, c: tf.where(a < 0.0, tf.minimum(gains, c * a), gains),
        ),
    },
    right=wrong,
)
