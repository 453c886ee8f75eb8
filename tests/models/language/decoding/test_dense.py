"""Dense layers on the tokens of all rows: the layer's results and gradients."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg.models.language.decoding import dense
from kpg.models.language.decoding.dense import applied
from tests.mutants.subject import close

ROWS, LENGTH = 3, 5
LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "narrowing": (keras.layers.Dense(4, activation="tanh"), (8,)),
    "widening": (keras.layers.Dense(8, use_bias=False), (4,)),
    "to heads": (
        keras.layers.EinsumDense("bqm,muh->bquh", (None, 2, 3), bias_axes="uh"),
        (4,),
    ),
    "from heads": (
        keras.layers.EinsumDense("bquh,uhm->bqm", (None, 4), bias_axes="m"),
        (2, 3),
    ),
}


@pytest.fixture(params=LAYERS)
def case(request: pytest.FixtureRequest) -> tuple[Any, tf.Tensor, tf.Tensor]:
    layer, width = LAYERS[request.param]
    rng = np.random.default_rng(0)
    inputs = tf.constant(rng.normal(size=(ROWS, LENGTH, *width)), tf.float32)
    shape = layer(inputs).shape
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer, inputs, tf.constant(rng.normal(size=shape), tf.float32)


def differentiated(function: Any, layer: Any, inputs: Any, outer: Any) -> list[Any]:
    """Results, and the gradients of inputs and weights."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = function(inputs)
    sources = [inputs, *[weight.value for weight in layer.trainable_weights]]
    return [outputs, *tape.gradient(outputs, sources, outer)]


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("many", [1, 2048])
def test_results_and_gradients_are_those_of_the_layer(
    case: Any, jit_compile: bool, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "_MANY", many)
    layer, inputs, outer = case
    want = differentiated(layer, layer, inputs, outer)
    own = tf.function(
        lambda inputs, outer: differentiated(
            lambda inputs: applied(layer, inputs), layer, inputs, outer
        ),
        jit_compile=jit_compile,
    )
    for found, expected in zip(own(inputs, outer), want, strict=True):
        close(found, expected)


def test_what_is_not_finite_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "_MANY", 1)
    layer, width = LAYERS["narrowing"]
    inputs = tf.ones([1, 2, *width])
    layer(inputs)
    found = []
    for bad in (np.inf, -np.inf, np.nan):
        outer = tf.constant([[[bad, 1.0, 1.0, 1.0], [1.0] * 4]])
        *_, kernel, _ = differentiated(
            lambda inputs: applied(layer, inputs), layer, inputs, outer
        )
        found.append(float(kernel[0, 0]))
    assert found[0] == np.inf and found[1] == -np.inf and np.isnan(found[2])


def test_low_rank_weights_learn_what_the_layer_teaches_them() -> None:
    layer = keras.layers.Dense(4)
    inputs = tf.constant(np.random.default_rng(0).normal(size=(2, 3, 8)), tf.float32)
    layer(inputs)
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(tf.ones_like(layer.lora_kernel_b))
    outer = tf.ones([2, 3, 4])
    want = differentiated(layer, layer, inputs, outer)
    found = differentiated(lambda rows: applied(layer, rows), layer, inputs, outer)
    for one, other in zip(found, want, strict=True):
        close(one, other)


def test_a_quantized_layer_multiplies_by_itself() -> None:
    layer = keras.layers.Dense(4)
    inputs = tf.ones([2, 3, 8])
    layer(inputs)
    layer.quantize("int8")
    close(applied(layer, inputs), layer(inputs))
