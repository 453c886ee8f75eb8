"""Losses of preferences: what must hold, and how they go wrong."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kpg.models.language.reward_model import bradley_terry
from tests.mutants.subject import Array, Implementation, Subject, close, gradient

CHOSEN, REJECTED = np.array([0.5, -1.0, 3.0]), np.array([1.5, -2.0, 0.5])


def loss(chosen: Array, rejected: Array) -> tf.Tensor:
    pair = (tf.cast(scores, tf.float32) for scores in (chosen, rejected))
    return bradley_terry(*pair)


def is_minus_the_log_of_the_share(bradley_terry: Implementation) -> None:
    shares = np.exp(CHOSEN) / (np.exp(CHOSEN) + np.exp(REJECTED))
    close(bradley_terry(CHOSEN, REJECTED), np.mean(-np.log(shares)))


def a_constant_for_a_prompt_changes_nothing(bradley_terry: Implementation) -> None:
    shift = np.array([3.0, -5.0, 0.5])
    moved = bradley_terry(CHOSEN + shift, REJECTED + shift)
    close(moved, bradley_terry(CHOSEN, REJECTED))


def its_gradient_is_the_chance_of_being_wrong(bradley_terry: Implementation) -> None:
    found = gradient(lambda scores: bradley_terry(scores, REJECTED), CHOSEN)
    wrong = 1.0 / (1.0 + np.exp(CHOSEN - REJECTED))
    close(found, -wrong / 3.0)


def sure_pairs_are_finite(bradley_terry: Implementation) -> None:
    close(bradley_terry(np.array([300.0]), np.array([-300.0])), 0.0)
    close(bradley_terry(np.array([-300.0]), np.array([300.0])), 600.0)


def single(scores: Array) -> tf.Tensor:
    return tf.cast(scores, tf.float32)


BRADLEY_TERRY = Subject(
    name="kpg.models.language.reward_model.bradley_terry",
    shipped=loss,
    identities=(
        is_minus_the_log_of_the_share,
        a_constant_for_a_prompt_changes_nothing,
        its_gradient_is_the_chance_of_being_wrong,
        sure_pairs_are_finite,
    ),
    mutants={
        "the other one is preferred": lambda c, r: loss(r, c),
        "sum instead of mean": lambda c, r: len(r) * loss(c, r),
        "each score on its own": lambda c, r: tf.reduce_mean(
            tf.nn.softplus(-single(c)) + tf.nn.softplus(single(r))
        ),
        "logarithm of a rounded share": lambda c, r: (
            -tf.reduce_mean(tf.math.log(tf.sigmoid(single(c) - single(r))))
        ),
        "hinge": lambda c, r: tf.reduce_mean(tf.nn.relu(1.0 - single(c) + single(r))),
    },
)
