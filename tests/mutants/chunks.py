"""Looking at a head's table in chunks: what must hold, and how it goes wrong."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kpg.models.language.chunks import in_chunks
from tests.mutants.subject import Array, Implementation, Subject, close

# Five rows of which two are looked at at a time: the last chunk is not full.
N, F, V, MOST = 5, 3, 7, 14
RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=[N, F]).astype(np.float32)
ACTIONS = tf.constant(RANDOM.integers(V, size=N), tf.int32)
TABLE = RANDOM.normal(size=[V, F]).astype(np.float32)
# What flows back to the two answers about each row.
OUTER = RANDOM.normal(size=[2, N]).astype(np.float32)


def answers(implementation: Implementation) -> list[Array]:
    """Returns both answers, and the gradients of the features and of the table."""
    table = keras.Variable(TABLE)

    def ask(features: tf.Tensor, actions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logs = tf.nn.log_softmax(tf.matmul(features, table, transpose_b=True))
        chosen = tf.gather(logs, actions, batch_dims=1)
        return chosen, -tf.reduce_sum(tf.exp(logs) * logs, axis=-1)

    features = tf.constant(FEATURES)
    with tf.GradientTape() as tape:
        tape.watch(features)
        said = implementation(ask, features, ACTIONS, V, [table], MOST)
        total = tf.reduce_sum(tf.stack(said) * OUTER)
    parts = tape.gradient(total, [features, table.value])
    return [np.stack(said), *(np.zeros(1) if own is None else own for own in parts)]


def oracle() -> list[Array]:
    """Returns the same by hand, in double precision."""
    logits = FEATURES.astype(np.float64) @ TABLE.T.astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    probs, rows = np.exp(logs), np.arange(N)
    entropies = -(probs * logs).sum(1)
    chosen = np.eye(V)[ACTIONS.numpy()] - probs
    spread = -probs * (logs + entropies[:, np.newaxis])
    inner = OUTER[0][:, np.newaxis] * chosen + OUTER[1][:, np.newaxis] * spread
    said = np.stack([logs[rows, ACTIONS.numpy()], entropies])
    return [said, inner @ TABLE, inner.T @ FEATURES]


def its_answers_are_those_of_the_whole_table(implementation: Implementation) -> None:
    close(answers(implementation)[0], oracle()[0], 1e-6)


def its_gradient_reaches_the_features(implementation: Implementation) -> None:
    close(answers(implementation)[1], oracle()[1], 1e-6)


def its_gradient_reaches_the_weights(implementation: Implementation) -> None:
    close(answers(implementation)[2], oracle()[2], 1e-6)


def wrong(
    ask: Any,
    features: tf.Tensor,
    actions: tf.Tensor,
    vocabulary_size: int,
    variables: Any,
    most: int,
    *,
    first: int = 0,
    stop: bool = False,
    last_weights: bool = False,
    swapped: bool = False,
) -> Any:
    """The chunks again, one by one; each option, changed, makes a mutant of it."""
    size, said = most // vocabulary_size, []
    for start in range(0, N, size):
        chosen = actions[start : start + size]
        begin = max(0, start - first)
        piece = features[begin : begin + len(chosen)]
        fixed = last_weights and start + size < N
        values = [(v, tf.stop_gradient(v) if fixed else v.value) for v in variables]
        with keras.StatelessScope(values):
            said.append(ask(tf.stop_gradient(piece) if stop else piece, chosen))
    pair = [tf.concat(parts, axis=0)[:N] for parts in zip(*said, strict=True)]
    return pair[::-1] if swapped else pair


CHUNKS = Subject(
    name="kpg.models.language.chunks.in_chunks",
    shipped=in_chunks,
    identities=(
        its_answers_are_those_of_the_whole_table,
        its_gradient_reaches_the_features,
        its_gradient_reaches_the_weights,
    ),
    mutants={
        "chunks overlap": partial(wrong, first=1),
        "no gradient of the features": partial(wrong, stop=True),
        "weights of the last chunk alone": partial(wrong, last_weights=True),
        "answers in the wrong order": partial(wrong, swapped=True),
    },
    right=wrong,
)
