"""A head in chunks says what the whole table says, to rounding."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg.models.language import chunks
from kpg.models.language.chunks import in_chunks
from tests.judging import B, T, V, assert_same, judged
from tests.texts import gpt2, llama, policy


def untied() -> Any:
    return llama(V, tie_word_embeddings=False)


def adapted() -> Any:
    model = gpt2(V)
    model.backbone.enable_lora(2)
    return model


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "tied": (lambda: gpt2(V), {}),
    "untied, at a temperature": (untied, {"temperature": 0.7}),
    "adapters": (adapted, {}),
    "top_k": (lambda: gpt2(V), {"top_k": 3, "temperature": 1.3}),
    "top_p": (lambda: gpt2(V), {"top_p": 0.8}),
}


ONE_OF_EACH = [
    pytest.param(
        case, marks=[pytest.mark.slow] if case in ("adapters", "top_k", "top_p") else []
    )
    for case in CASES
]


@pytest.mark.parametrize("case", ONE_OF_EACH)
def test_values_and_gradients_are_those_of_the_whole(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, options = CASES[case]
    made = policy("abcde", model(), **options)
    entropies = "constant" if case == "top_k" else "learned"
    xla = case == "tied"
    whole = judged(made, entropies, xla)
    monkeypatch.setattr(chunks, "MOST", 5 * V)  # three chunks of four tokens
    assert_same(judged(made, entropies, xla), whole)


def test_no_operation_holds_the_whole_table(monkeypatch: pytest.MonkeyPatch) -> None:
    made = policy("abcde", gpt2(V))
    monkeypatch.setattr(chunks, "MOST", 5 * V)
    state = made.initial_state(B)

    def ask(tokens: tf.Tensor) -> Any:
        resets = tf.zeros([T, B], tf.bool)
        with tf.GradientTape() as tape:
            said = made.judge(tokens, tokens, state, resets)
            total = tf.reduce_sum(said.log_probs)
        return tape.gradient(total, [own.value for own in made.trainable_variables])

    specs = tf.TensorSpec([T, B], tf.int32)
    graph: Any = tf.function(ask, autograph=False).get_concrete_function(specs).graph
    bodies = [f.graph for f in graph._functions.values()] if graph._functions else []
    shapes = [
        output.shape.num_elements() or 0
        for part in [graph, *bodies]
        for operation in part.get_operations()
        for output in operation.outputs
        if output.shape.rank and output.shape[-1] == V and output.shape != [16, V]
    ]
    assert shapes and max(shapes) <= 5 * V


def test_entropies_cost_no_gradient_unless_they_are_learned() -> None:
    made = policy("abcde", gpt2(V))
    log_probs, entropies, *_ = judged(made, "learned")
    for kind, want in (("constant", entropies), ("unknown", np.zeros([T, B]))):
        said, other, *gradients = judged(made, kind)
        np.testing.assert_allclose(said, log_probs, atol=1e-6)
        np.testing.assert_allclose(other, want, atol=1e-6)
        assert any(np.abs(gradient).max() > 0.0 for gradient in gradients)


def test_half_precision_keeps_its_dtype() -> None:
    table = keras.Variable(np.ones([V, 2]), dtype="float32")

    def ask(features: tf.Tensor, actions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        kernel = tf.cast(table, features.dtype)
        logits = tf.cast(tf.matmul(features, kernel, transpose_b=True), tf.float32)
        logs = tf.nn.log_softmax(logits)
        return tf.gather(logs, actions, batch_dims=1), tf.reduce_sum(logs, axis=-1)

    features = tf.ones([5, 2], tf.bfloat16)
    with tf.GradientTape() as tape:
        tape.watch(features)
        said = in_chunks(ask, features, tf.zeros([5], tf.int32), V, [table], 2 * V)
    own, weights = tape.gradient(said[0], [features, table.value])
    assert (own.dtype, weights.dtype) == (tf.bfloat16, tf.float32)
    np.testing.assert_allclose(said[0], -np.log(V), rtol=1e-5)
