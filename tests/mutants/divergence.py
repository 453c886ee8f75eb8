"""The estimators of the KL divergence: what must hold, and how they go wrong."""

from __future__ import annotations

from functools import partial

import numpy as np
import tensorflow as tf

import kpg
from tests.mutants.policy_gradient import LOGITS
from tests.mutants.subject import Implementation, Subject, close, softmax

OLD, NEW = softmax(LOGITS), softmax(LOGITS + np.array([0.4, -0.3, 0.2], np.float32))


def expectation(kl: Implementation) -> float:
    """Enumerates what the old policy does: Σ π_old(a) · estimate(a)."""
    logs = [tf.constant(np.log(policy), tf.float32) for policy in (NEW, OLD)]
    estimates = [kl(*(log[a : a + 1] for log in logs)) for a in range(3)]
    return float(OLD @ np.array(estimates))


def it_is_unbiased(kl: Implementation) -> None:
    close(expectation(kl), np.sum(OLD * np.log(OLD / NEW)))


def its_bias_is_small(kl: Implementation) -> None:
    close(expectation(kl) / np.sum(OLD * np.log(OLD / NEW)), 1.0, 0.2)


def equal_policies_have_none(kl: Implementation) -> None:
    rows = tf.constant([-1.0, -0.3])
    close(kl(rows, rows), 0.0)


def it_is_never_negative(kl: Implementation) -> None:
    for log_ratio in (-3.0, -0.5, -1e-3, 1e-3, 0.5, 3.0):
        assert float(kl(tf.constant([log_ratio]), tf.constant([0.0]))) > 0.0


def a_small_step_keeps_its_digits(kl: Implementation) -> None:
    found = kl(tf.constant([1e-4]), tf.constant([0.0]))
    close(float(found) / 0.5e-8, 1.0, 0.01)


def only_the_policy_has_a_gradient(kl: Implementation) -> None:
    rows = [tf.constant(np.log(policy), tf.float32) for policy in (NEW, OLD)]
    with tf.GradientTape() as tape:
        tape.watch(rows)
        result = kl(*rows)
    first, second = tape.gradient(result, rows)
    assert first is not None and second is None


def estimator(formula: Implementation, new: tf.Tensor, old: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(formula(new - tf.stop_gradient(old)))


def shipped(name: str) -> Implementation:
    return partial(kpg.losses.approximate_kl, estimator=name)


def reversed_of(name: str) -> Implementation:
    return lambda new, old: kpg.losses.approximate_kl(old, new, estimator=name)


def table(name: str, right: Implementation, **mutants: Implementation) -> Subject:
    """Builds the subject of one estimator; mutants are formulas of the log-ratio."""
    unbiased = its_bias_is_small if name == "k2" else it_is_unbiased
    never = (
        () if name == "k1" else (it_is_never_negative, a_small_step_keeps_its_digits)
    )
    made = {
        text.replace("_", " "): partial(estimator, formula)
        for text, formula in mutants.items()
    }
    return Subject(
        name=f"kpg.losses.approximate_kl {name}",
        shipped=shipped(name),
        identities=(
            unbiased,
            equal_policies_have_none,
            *never,
            only_the_policy_has_a_gradient,
        ),
        mutants={"direction reversed": reversed_of(name), **made},
        right=partial(estimator, right),
    )


K1 = table(
    "k1",
    lambda x: -x,
    sign=lambda x: x,
    absolute=tf.abs,
    missing_minus_1=lambda x: 1.0 - x,
)
K2 = table(
    "k2",
    lambda x: 0.5 * x**2,
    sign=lambda x: -0.5 * x**2,
    no_half=lambda x: x**2,
    of_the_ratio=lambda x: 0.5 * tf.exp(x) ** 2,
)
K3 = table(
    "k3",
    lambda x: tf.math.expm1(x) - x,
    missing_minus_1=lambda x: tf.exp(x) - x,
    sign_of_x=lambda x: tf.math.expm1(x) + x,
    ratio_upside_down=lambda x: tf.math.expm1(-x) + x,
    exp_minus_1=lambda x: tf.exp(x) - 1.0 - x,
)
