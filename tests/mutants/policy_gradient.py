"""The policy gradient's loss: what must hold, and how it goes wrong."""

from __future__ import annotations

from functools import partial

import numpy as np
import tensorflow as tf

import kpg
from tests.mutants.subject import (
    Array,
    Implementation,
    Subject,
    close,
    gradient,
    softmax,
)

LOGITS = np.array([0.3, -0.7, 1.1], np.float32)
REWARDS = np.array([1.0, -2.0, 0.5], np.float32)
VALID = np.array([True, False, True, True])


def expected_gradient(loss: Implementation, advantages: Array) -> Array:
    """Enumerates the actions of a softmax bandit: Σ π(a) ∇ loss(log π(a), A(a))."""

    def of_action(logits: tf.Tensor, action: int) -> tf.Tensor:
        row = slice(action, action + 1)
        advantage = tf.constant(advantages[row], tf.float32)
        return loss(tf.nn.log_softmax(logits)[row], advantage)

    return sum(
        probability * gradient(partial(of_action, action=action), LOGITS).numpy()
        for action, probability in enumerate(softmax(LOGITS))
    )


def bandit_gradient_is_exact(loss: Implementation) -> None:
    probabilities = softmax(LOGITS)
    exact = probabilities * (REWARDS - probabilities @ REWARDS)
    step = 1e-3
    differences = [
        (softmax(LOGITS + shift) @ REWARDS - softmax(LOGITS - shift) @ REWARDS)
        / (2 * step)
        for shift in step * np.eye(3)
    ]
    close(exact, differences, 1e-4)
    close(-expected_gradient(loss, REWARDS), exact)


def a_constant_baseline_adds_nothing(loss: Implementation) -> None:
    close(expected_gradient(loss, np.full(3, 10.0)), 0.0)
    close(expected_gradient(loss, REWARDS + 10.0), expected_gradient(loss, REWARDS))


def it_is_a_mean(loss: Implementation) -> None:
    log_probs = tf.constant([[-1.0, -2.0], [-3.0, -0.5]])
    advantages = tf.constant([[1.0, 2.0], [-1.0, 4.0]])
    twice = loss(tf.concat([log_probs] * 2, 0), tf.concat([advantages] * 2, 0))
    close(twice, loss(log_probs, advantages))


def masked_rows_do_not_count(loss: Implementation) -> None:
    log_probs, advantages = (
        np.log([0.2, 0.5, 0.3, 0.9]),
        np.array([1.0, 9.0, -2.0, 3.0]),
    )
    rows = [tf.constant(array, tf.float32) for array in (log_probs, advantages)]
    kept = [tf.boolean_mask(array, VALID) for array in rows]
    close(loss(*rows, VALID), loss(*kept))


def only_the_policy_has_a_gradient(loss: Implementation) -> None:
    log_probs, advantages = tf.constant(np.log(softmax(LOGITS))), tf.constant(REWARDS)
    with tf.GradientTape() as tape:
        tape.watch([log_probs, advantages])
        result = loss(log_probs, advantages)
    first, second = tape.gradient(result, [log_probs, advantages])
    assert first is not None and second is None


def wrong(
    log_probs: tf.Tensor,
    advantages: tf.Tensor,
    valid: Array | None = None,
    *,
    sign: float = -1.0,
    total: bool = False,
    count_all: bool = False,
    stop: bool = True,
    probability: bool = False,
    normalized: bool = False,
) -> tf.Tensor:
    """The loss again; each option, changed, makes a mutant of it."""
    valid = tf.ones_like(log_probs, tf.bool) if valid is None else tf.constant(valid)
    weights = tf.cast(valid, tf.float32)
    advantages = tf.stop_gradient(advantages) if stop else advantages
    if normalized:
        advantages = advantages / (tf.math.reduce_std(advantages) + 1e-8)
    scores = tf.exp(log_probs) if probability else log_probs
    count = tf.reduce_sum(tf.ones_like(weights) if count_all else weights)
    result = tf.reduce_sum(weights * scores * advantages)
    return sign * (result if total else result / count)


POLICY_GRADIENT = Subject(
    name="kpg.losses.policy_gradient",
    shipped=kpg.losses.policy_gradient,
    identities=(
        bandit_gradient_is_exact,
        a_constant_baseline_adds_nothing,
        it_is_a_mean,
        masked_rows_do_not_count,
        only_the_policy_has_a_gradient,
    ),
    mutants={
        "wrong sign": partial(wrong, sign=1.0),
        "sum for mean": partial(wrong, total=True),
        "invalid rows in the count": partial(wrong, count_all=True),
        "mask ignored": lambda log_probs, advantages, valid=None: wrong(
            log_probs, advantages
        ),
        "gradient through the advantages": partial(wrong, stop=False),
        "probability for its logarithm": partial(wrong, probability=True),
        "divided by the deviation only": partial(wrong, normalized=True),
    },
    right=wrong,
)
