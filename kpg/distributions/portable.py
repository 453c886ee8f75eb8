"""Log-probabilities of choices, in operations that other runtimes have, too.

LiteRT has no `SparseSoftmaxCrossEntropyWithLogits`. Training keeps it: the other form
rounds differently, by about 4e-8.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

import tensorflow as tf

_wanted = contextvars.ContextVar("portable", default=False)


@contextlib.contextmanager
def operations() -> Iterator[None]:
    """Within it, what is traced or run can be converted to LiteRT and to ONNX."""
    token = _wanted.set(True)
    try:
        yield
    finally:
        _wanted.reset(token)


def cross_entropy(choices: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns `[...]`: −log softmax(logits)[choice] in nats, of integers `[...]`.

    Args:
        choices: Integers in 0 … n − 1, `[...]`.
        logits: Finite numbers, `[..., n]`.
    """
    if not _wanted.get():
        return tf.nn.sparse_softmax_cross_entropy_with_logits(choices, logits)
    chosen = tf.one_hot(choices, logits.shape[-1], dtype=logits.dtype)
    return -tf.reduce_sum(tf.nn.log_softmax(logits) * chosen, axis=-1)
