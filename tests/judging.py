"""What a language policy says of given tokens, and the gradients of all its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

T, B, V = 3, 4, 7


def judged(
    made: Any, entropies: str = "learned", jit_compile: bool = False, alike: int = 1
) -> list[Any]:
    """Judges `B` texts, of which every two have one prompt, as an update does."""
    random = np.random.default_rng(0)
    tokens, actions = tf.constant(random.integers(2, V, size=[2, T, B]), tf.int32)
    outer = tf.constant(random.normal(size=[2, T, B]), tf.float32)
    prompts = np.repeat(random.integers(2, V, size=[2, 3]), 2, axis=0).astype(np.int32)
    first, state = made.begin(prompts, np.array([3, 3, 2, 2], np.int32))
    tokens = tf.concat([first[np.newaxis], tokens[1:]], axis=0)
    weights = [own.value for own in made.trainable_variables]

    @tf.function(autograph=False, jit_compile=jit_compile)
    def ask() -> Any:
        resets, own = tf.zeros([T, B], tf.bool), tuple(map(tf.constant, state))
        with tf.GradientTape() as tape:
            said = made.judge(
                tokens, actions, own, resets, entropies=entropies, alike=alike
            )
            total = tf.reduce_sum(tf.stack(said[:2]) * outer)
        zero = tf.UnconnectedGradients.ZERO
        return said[:2], tape.gradient(total, weights, unconnected_gradients=zero)

    said, gradients = ask()
    return [np.asarray(tf.convert_to_tensor(part)) for part in (*said, *gradients)]


def assert_same(ours: list[Any], theirs: list[Any], atol: float = 1e-6) -> None:
    """Compares what `judged` returns, and that something has a gradient."""
    assert any(np.abs(gradient).max() > 1e-3 for gradient in theirs[2:])
    for own, want in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(own, want, rtol=1e-5, atol=atol)
