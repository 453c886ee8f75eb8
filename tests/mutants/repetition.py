"""Penalties for repetition: what must hold, and how they go wrong."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kpg.models.language.decoding import repetition
from tests.mutants.subject import Array, Implementation, Subject, close, softmax

LOGITS, PENALTY = np.array([2.0, -1.0, 0.5, -3.0]), 1.5


def penalized(logits: Array, seen: Array, penalty: float) -> Array:
    given = tf.constant(logits, tf.float32), tf.constant(seen)
    return repetition.penalized(*given, penalty).numpy()


def what_was_seen_becomes_less_likely(penalized: Implementation) -> None:
    for token in range(4):
        seen = np.arange(4) == token
        before, after = softmax(LOGITS), softmax(penalized(LOGITS, seen, PENALTY))
        assert after[token] < before[token] - 1e-3


def what_was_not_seen_keeps_its_logit(penalized: Implementation) -> None:
    seen = np.array([True, True, False, False])
    close(penalized(LOGITS, seen, PENALTY)[2:], LOGITS[2:])


def it_can_be_taken_back(penalized: Implementation) -> None:
    seen = np.array([True, True, False, True])
    once = penalized(LOGITS, seen, PENALTY)
    close(penalized(once, seen, 1.0 / PENALTY), LOGITS)


def temperature_may_come_before_or_after(penalized: Implementation) -> None:
    seen = np.array([True, True, False, True])
    close(penalized(LOGITS / 0.7, seen, 1.5), penalized(LOGITS, seen, 1.5) / 0.7)


PENALIZED = Subject(
    name="kpg.models.language.decoding.repetition.penalized",
    shipped=penalized,
    identities=(
        what_was_seen_becomes_less_likely,
        what_was_not_seen_keeps_its_logit,
        it_can_be_taken_back,
        temperature_may_come_before_or_after,
    ),
    mutants={
        "divided whatever the sign": lambda x, seen, p: np.where(seen, x / p, x),
        "the others are penalised": lambda x, seen, p: penalized(x, ~seen, p),
        "subtracted": lambda x, seen, p: np.where(seen, x - (p - 1.0), x),
        "forbidden": lambda x, seen, p: np.where(seen, -1e9, x),
    },
)
