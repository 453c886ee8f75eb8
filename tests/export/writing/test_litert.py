"""Files of LiteRT, run by its interpreter."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.export.writing import manifest, saved_model
from kpg.export.writing.offer import offer_of
from tests import policies


def run(model: bytes, inputs: Any) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow recommends ai_edge_litert
        interpreter = tf.lite.Interpreter(model_content=model)
    outputs: dict[str, Any] = interpreter.get_signature_runner()(**inputs)
    return outputs


def check(model: bytes, policy: Any, rows: int) -> None:
    """Compares a file with the live policy, in which nothing was traced."""
    offer = offer_of(policy, None)
    ((_, inputs), _) = offer.requests([rows])
    live, outputs = offer.live("serving_default", inputs), run(model, inputs)
    assert outputs.keys() == live.keys() - (
        {"log_prob"} if "concentration0" in live else set()
    )
    for name, array in outputs.items():
        assert array.dtype == live[name].dtype
        np.testing.assert_allclose(array, live[name], rtol=1e-5, atol=1e-5)


def test_a_file(tmp_path: Path) -> None:
    policy = policies.policy("discrete")
    export = saved_model.publish(policy, tmp_path, format="litert", notes={"env": "x"})
    model = Path(export.path) / "model.tflite"
    check(model.read_bytes(), policy, 5)
    assert model.stat().st_size < 20_000
    content = json.loads((Path(export.path) / manifest.PATH).read_text())
    assert (content["format"], content["version"]) == ("litert", 1)
    assert content["sha256"].keys() == {"model.tflite"}
    assert content["signatures"] == export.signatures
    assert list(export.signatures) == ["serving_default"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", policies.KINDS)
def test_every_kind(kind: str, tmp_path: Path) -> None:
    policy = policies.policy(kind)
    export = saved_model.publish(policy, tmp_path, format="litert")
    model = (Path(export.path) / "model.tflite").read_bytes()
    for rows in (1, 5):
        check(model, policy, rows)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(policies.KINDS.keys() - {"beta"}))
def test_what_others_convert_themselves(kind: str, tmp_path: Path) -> None:
    policy = policies.policy(kind)
    path = saved_model.publish(policy, tmp_path).path
    converter = tf.lite.TFLiteConverter.from_saved_model(
        path, signature_keys=["serving_default"]
    )
    check(converter.convert(), policy, 5)
