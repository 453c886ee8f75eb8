"""Predict on a loaded version; every refusal's words are in serving/test_services."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from kpg.export import ServingError
from kpg.export.loading.prediction import predict
from kpg.export.loading.servable import Loading, Servable


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], name="x")])
    def function(x: Any) -> dict[str, Any]:
        return {"double": 2.0 * x, "half": x / 2.0, "same": x + 0.0}

    module.function = function
    path = str(tmp_path_factory.mktemp("model"))
    tf.saved_model.save(module, path, signatures={"serving_default": function})
    return path


@pytest.fixture(scope="module")
def servable(path: str) -> Servable:
    return Servable(path)


def request(values: Any, *outputs: str, name: str = "") -> Any:
    made = predict_pb2.PredictRequest(output_filter=outputs)
    made.model_spec.name = "whatever the caller has chosen"
    made.model_spec.signature_name = name
    made.inputs["x"].CopyFrom(tf.make_tensor_proto(values))
    return made


@pytest.mark.parametrize("name", ["", "serving_default"])
def test_all_outputs(servable: Servable, name: str) -> None:
    response = predict(servable, request(np.array([1, 3], np.float32), name=name))
    assert response.model_spec.signature_name == "serving_default"
    assert response.model_spec.name == ""
    found = {key: list(one.float_val) for key, one in response.outputs.items()}
    assert found == {"double": [2, 6], "half": [0.5, 1.5], "same": [1, 3]}


def test_some_outputs(servable: Servable) -> None:
    response = predict(servable, request(np.array([1], np.float32), "same", "double"))
    assert set(response.outputs) == {"same", "double"}


@pytest.mark.parametrize(
    ("made", "code", "words"),
    [
        (request([1.5], name="y"), "FAILED_PRECONDITION", 'key "y" not found.'),
        (request([1]), "INVALID_ARGUMENT", "to be float but int32 is provided"),
        (request([1.5], "z"), "INVALID_ARGUMENT", "not found in signature: z"),
        (predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing but required: {x}"),
    ],
)
def test_refusals(servable: Servable, made: Any, code: str, words: str) -> None:
    with pytest.raises(ServingError) as caught:
        predict(servable, made)
    assert caught.value.code == code and words in caught.value.message


def test_method_names_are_checked_only_if_wanted(path: str) -> None:
    request_ = request(np.array([1], np.float32), "same")
    for checks in (False, True):
        loaded = Servable(path, Loading(checks_method_names=checks))
        assert predict(loaded, request_).outputs["same"].float_val == [1.0]
        loaded.signatures["serving_default"].method_name = "not/supported/method"
        if not checks:
            assert predict(loaded, request_).outputs["same"].float_val == [1.0]
            continue
        with pytest.raises(ServingError, match="Was: not/supported/method") as caught:
            predict(loaded, request_)
        assert caught.value.code == "INTERNAL"
