"""What a policy can be written as, and by which names it is found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.export.writing import formats

SPACE = gym.spaces.Dict(
    {"place": gym.spaces.Box(-1.0, 1.0, (2,)), "kind": gym.spaces.Discrete(3)}
)


@pytest.fixture(scope="module")
def policy() -> Any:
    return kpg.models.Policy(
        SPACE, gym.spaces.Discrete(3), hidden_units=(4,), memory="gru", memory_units=3
    )


@pytest.fixture(scope="module")
def path(policy: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    return kpg.export.export_policy(policy, tmp_path_factory.mktemp("models"))


def inputs() -> dict[str, Any]:
    return {
        "observation_place": np.full((5, 2), 0.5, np.float32),
        "observation_kind": np.arange(5) % 3,
        "state_0": np.full((5, 3), 0.1, np.float32),
    }


def test_a_layer_of_keras(path: str, policy: Any) -> None:
    """Keras passes all inputs as one argument."""
    layer = keras.layers.TFSMLayer(path, call_endpoint="greedy")
    given = inputs()
    outputs = layer(given)
    seen = {"place": given["observation_place"], "kind": given["observation_kind"]}
    parameters, (state,) = policy.step(
        kpg.spaces.encode(SPACE, seen), (tf.constant(given["state_0"]),)
    )
    np.testing.assert_allclose(outputs["logits"], parameters, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs["state_0"], state, rtol=1e-5, atol=1e-6)


def test_the_form_that_other_formats_can_hold(path: str) -> None:
    graph = tf.saved_model.load(path).signatures["serving_default"].graph
    text = str(graph.as_graph_def())
    assert "LogSoftmax" in text and "SparseSoftmaxCrossEntropy" not in text


def test_names() -> None:
    assert isinstance(formats.get("saved_model"), formats.SavedModel)
    for name in ("litert", "onnx"):
        assert type(formats.get(name)).__name__.lower() == name
    with pytest.raises(
        ValueError, match="one of saved_model, litert, onnx. .*'tflite'"
    ):
        formats.get("tflite")


def test_a_misspelt_format_changes_nothing(policy: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`format` must be one of"):
        kpg.export.export_policy(policy, tmp_path / "m", format="ONNX")
    assert not any(tmp_path.iterdir())
