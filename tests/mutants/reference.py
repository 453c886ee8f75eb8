"""The drift from a reference in the loss: what must hold, and how it goes wrong."""

from __future__ import annotations

from functools import partial

import numpy as np
import tensorflow as tf

import kpg
from tests.mutants.divergence import NEW, OLD
from tests.mutants.policy_gradient import LOGITS
from tests.mutants.subject import (
    Array,
    Implementation,
    Subject,
    close,
    gradient,
    softmax,
)

REFERENCE = softmax(np.array([-0.5, 0.8, 0.1], np.float32))
AT = np.log(NEW)


def logs(policy: Array) -> tf.Tensor:
    return tf.constant(np.log(policy), tf.float32)


def enumerated(kl: Implementation, logits: tf.Tensor) -> tf.Tensor:
    """Returns what is expected where the old policy acts: Σ π_old(a) · loss(a)."""
    rows = tf.nn.log_softmax(logits), logs(OLD), logs(REFERENCE)
    estimates = [kl(*(row[a : a + 1] for row in rows)) for a in range(3)]
    return tf.reduce_sum(OLD * tf.stack(estimates))


def exact(logits: tf.Tensor) -> tf.Tensor:
    log_probs = tf.nn.log_softmax(logits)
    return tf.reduce_sum(tf.exp(log_probs) * (log_probs - logs(REFERENCE)))


def its_gradient_is_that_of_the_divergence(kl: Implementation) -> None:
    close(gradient(partial(enumerated, kl), AT), gradient(exact, AT))


def its_mean_is_the_divergence(kl: Implementation) -> None:
    close(enumerated(kl, tf.constant(AT)), exact(tf.constant(AT)))


def its_mean_is_near_the_divergence(kl: Implementation) -> None:
    close(enumerated(kl, tf.constant(AT)) / exact(tf.constant(AT)), 1.0, 0.2)


def only_the_policy_has_a_gradient(kl: Implementation) -> None:
    rows = [logs(policy) for policy in (NEW, OLD, REFERENCE)]
    with tf.GradientTape() as tape:
        tape.watch(rows)
        result = kl(*rows)
    first, *others = tape.gradient(result, rows)
    assert first is not None and others == [None, None]


FORMULAS: dict[str, Implementation] = {
    "k1": lambda x: -x,
    "k2": lambda x: 0.5 * x**2,
    "k3": lambda x: tf.exp(x) - 1.0 - x,
}
STOP = tf.stop_gradient


def weighed(
    name: str, new: tf.Tensor, old: tf.Tensor, reference: tf.Tensor, ratio: str
) -> tf.Tensor:
    """Returns the mean of ρ · k, with a ratio that may be wrong."""
    ratios = tf.exp(new - STOP(old))
    versions = {
        "moves": ratios,
        "is constant": STOP(ratios),
        "is missing": tf.ones_like(ratios),
        "upside down": 1.0 / ratios,
    }
    return tf.reduce_mean(versions[ratio] * FORMULAS[name](STOP(reference) - new))


def table(name: str) -> Subject:
    right = "is constant" if name == "k2" else "moves"
    near = its_mean_is_near_the_divergence if name == "k2" else None
    wrong = {"moves", "is constant", "is missing", "upside down"} - {right}
    shipped = partial(kpg.losses.reference_kl, estimator=name)
    return Subject(
        name=f"kpg.losses.reference_kl {name}",
        shipped=shipped,
        identities=(
            its_gradient_is_that_of_the_divergence,
            near or its_mean_is_the_divergence,
            only_the_policy_has_a_gradient,
        ),
        mutants={
            **{f"ratio {r}": partial(weighed, name, ratio=r) for r in sorted(wrong)},
            "direction reversed": lambda new, old, ref: shipped(ref, old, new),
            "of the policy that acted": lambda new, old, ref: shipped(old, old, ref),
        },
        right=partial(weighed, name, ratio=right),
    )


REFERENCE_K1, REFERENCE_K2, REFERENCE_K3 = map(table, FORMULAS)


def paid(estimator: str) -> Array:
    """Returns the policy gradient of E[k] where k is a reward: Σ π(a) k(a) ∇log π."""
    policy = softmax(LOGITS)
    k = kpg.losses.kl_estimates(logs(REFERENCE) - logs(policy), estimator).numpy()
    return policy * (k - policy @ k)
