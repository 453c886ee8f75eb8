"""Broken exports that verification must catch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg.export import VerificationError, verify
from kpg.export.writing import verification

SPEC = tf.TensorSpec([None, 2], tf.float32, name="observation")
EXAMPLES = [
    ("serving_default", {"observation": np.full((rows, 2), 0.5, np.float32)})
    for rows in (1, 3)
]


def save(
    path: Path, function: Callable[[Any], Any], variables: Any = (), spec: Any = SPEC
) -> None:
    module = tf.Module()
    module.weights = list(variables)
    module.function = tf.function(function, [spec], autograph=False)
    tf.saved_model.save(
        module, str(path), signatures={"serving_default": module.function}
    )


def reference(name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    assert name == "serving_default"
    return {"double": 2 * inputs["observation"]}


def test_a_good_model(tmp_path: Path) -> None:
    save(tmp_path, lambda x: {"double": x * 2.0 + 3e-6})
    parity = verify(tmp_path, reference, EXAMPLES)
    assert parity.max_abs == pytest.approx(3e-6, rel=0.1)
    assert parity.outputs == {"serving_default/double": parity.max_abs}
    assert {"Mul", "Placeholder"} <= set(parity.operations)


def test_a_keras_model_that_only_python_can_load(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    tf.saved_model.save(model, str(tmp_path))
    inputs = {"inputs": np.ones((2, 2), np.float32)}
    expected = {"output_0": model(inputs["inputs"]).numpy()}
    loaded = tf.saved_model.load(str(tmp_path))
    served = loaded.signatures["serving_default"](tf.constant(inputs["inputs"]))
    np.testing.assert_allclose(served["output_0"], expected["output_0"], rtol=1e-5)
    with pytest.raises(
        VerificationError, match="TensorFlow Serving's loader.*Could not find variable"
    ):
        verify(tmp_path, lambda name, _: expected, [("serving_default", inputs)])


def test_a_module_that_holds_a_keras_model(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    save(tmp_path, lambda x: {"double": model(x)}, variables=[model])
    with pytest.raises(VerificationError, match="Could not find variable"):
        verify(tmp_path, reference, EXAMPLES)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x: {"double": x * 2.0 + 1e-3}, r"within 1\.0e-05 .* difference of 1"),
        (lambda x: {"twice": x * 2.0}, r"outputs must be \['double'\]"),
        (lambda x: {"double": tf.cast(x * 2.0, tf.float64)}, "must be float32"),
        (
            lambda x: {"double": x + x * tf.cast(tf.shape(x)[0], x.dtype)},
            r"observation \(3, 2\)",
        ),
        (lambda x: {"double": (x * 2.0)[:1]}, r"must be float32 \(3, 2\)"),
        (lambda x: {"double": x / 0.0}, "finite"),
        (
            lambda x: {"double": tf.numpy_function(lambda y: 2 * y, [x], tf.float32)},
            "call back into Python.*PyFunc",
        ),
        (
            lambda x: {"double": tf.function(tf.square, jit_compile=True)(x)},
            "must not need XLA",
        ),
    ],
    ids=["off", "name", "dtype", "batch", "frozen", "nan", "python", "xla"],
)
def test_a_model_that_differs(
    tmp_path: Path, function: Callable[[Any], Any], text: str
) -> None:
    save(tmp_path, function)
    with pytest.raises(VerificationError, match=text):
        verify(tmp_path, reference, EXAMPLES)


def test_integers_must_be_equal(tmp_path: Path) -> None:
    save(tmp_path, lambda x: {"action": tf.argmax(x, -1) + 1})
    with pytest.raises(VerificationError, match="action must equal.*1 of 1 values"):
        verify(
            tmp_path,
            lambda _, inputs: {"action": np.argmax(inputs["observation"], -1)},
            EXAMPLES,
        )


def test_a_narrow_density_is_given_more_room(tmp_path: Path) -> None:
    def function(x: Any, error: float = 0.0) -> dict[str, Any]:
        return {"scale": 0 * x + 1e-3, "log_prob": x[:, 0] + error}

    def expected(_: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        constant = tf.constant(inputs["observation"])
        return {key: value.numpy() for key, value in function(constant).items()}

    save(tmp_path / "near", lambda x: function(x, 5e-3))
    verify(tmp_path / "near", expected, EXAMPLES)
    save(tmp_path / "far", lambda x: function(x, 2e-2))
    with pytest.raises(VerificationError, match=r"log_prob must be within 1\.0e-02"):
        verify(tmp_path / "far", expected, EXAMPLES)


@pytest.mark.parametrize(
    ("parameters", "times"),
    [
        ({}, 1.0),
        ({"scale": 2.0}, 1.0),
        ({"scale": 0.25, "logits": -1e9}, 4.0),
        ({"concentration1": 50.0, "concentration0": 2.0}, 50.0),
        ({"scale_arm_0": 0.1, "concentration0_leg": 3.0}, 10.0),
        ({"action_scale": 1e-6, "loc_scale": 1e-6}, 1.0),
    ],
)
def test_how_much_room_a_density_is_given(
    parameters: dict[str, float], times: float
) -> None:
    outputs = {name: np.array([value, 1.0]) for name, value in parameters.items()}
    assert verification.sensitivity(outputs) == pytest.approx(times)


def test_a_directory_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="readable saved_model.pb"):
        verify(tmp_path, reference, EXAMPLES)
    (tmp_path / "saved_model.pb").write_bytes(b"\xff" * 100)
    with pytest.raises(VerificationError, match="readable saved_model.pb"):
        verify(tmp_path, reference, EXAMPLES)


def test_a_missing_signature(tmp_path: Path) -> None:
    save(tmp_path, lambda x: {"double": x * 2.0})
    with pytest.raises(VerificationError, match="KeyError: 'sample'"):
        verify(tmp_path, lambda *_: {}, [("sample", {})])
