"""What TensorFlow Serving answers over the wire, asked with its own stubs.

Facts of its unit and integration tests in words of our own. With `KPG_TFS_BINARY`, the
path of a real `tensorflow_model_server`, that one is asked the same.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from kpg.export import Server
from tests.served_models import (
    CLASSIFY,
    REGRESS,
    examples,
    free_port,
    publish,
    publish_counter,
    refusal,
)

BINARY = os.environ.get("KPG_TFS_BINARY", "")
INVALID = "INVALID_ARGUMENT"


class Asker:
    """The two services of a server, by their stubs."""

    def __init__(self, address: str, directory: Path) -> None:
        self.directory = directory
        self.channel = grpc.insecure_channel(address)
        prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        models = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self.predict, self.classify = prediction.Predict, prediction.Classify
        self.regress, self.infer = prediction.Regress, prediction.MultiInference
        self.metadata = prediction.GetModelMetadata
        self.status = models.GetModelStatus
        self.reload = models.HandleReloadConfigRequest


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two versions, and two of one."""
    path = tmp_path_factory.mktemp("models")
    for name in ("two", "three", "counter"):
        (path / name).mkdir()
    publish_counter(path / "counter")
    publish(path / "two", 123, 2.0)
    publish(path / "two", 124, 20.0)
    publish(path / "three", 7, 3.0)
    (path / "models.config").write_text(
        f"""model_config_list: {{
          config: {{
            name: "two", base_path: "{path / "two"}", model_platform: "tensorflow"
            model_version_policy {{ all {{}} }}
            version_labels {{ key: "stable" value: 123 }}
          }},
          config: {{
            name: "three", base_path: "{path / "three"}", model_platform: "tensorflow"
          }},
          config: {{
            name: "counter", base_path: "{path / "counter"}",
            model_platform: "tensorflow"
          }}
        }}"""
    )
    return path


@pytest.fixture(scope="module")
def ask(directory: Path) -> Iterator[Asker]:
    settings: dict[str, Any] = {
        "model_config_file": str(directory / "models.config"),
        "file_system_poll_wait_seconds": 0,
        "allow_version_labels_for_unavailable_models": True,
    }
    if not BINARY:
        with Server(port=0, **settings) as server:
            yield Asker(server.address, directory)
        return
    port = free_port()
    settings["allow_version_labels_for_unavailable_models"] = "true"
    flags = [f"--{name}={value}" for name, value in settings.items()]
    with subprocess.Popen([BINARY, f"--port={port}", *flags]) as process:
        asker = Asker(f"127.0.0.1:{port}", directory)
        grpc.channel_ready_future(asker.channel).result(60)
        yield asker
        process.kill()


def predict_request(name: str = "two", **inputs: Any) -> Any:
    made = predict_pb2.PredictRequest()
    made.model_spec.name = name
    for key, value in (inputs or {"x": np.array([2.0], np.float32)}).items():
        made.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return made


def with_spec(request: Any, **spec: Any) -> Any:
    version = spec.pop("version", None)
    for name, value in spec.items():
        setattr(request.model_spec, name, value)
    if version is not None:
        request.model_spec.version.value = version
    return request


def classification(signature: str = "classify_x_to_y", sent: Any = None) -> Any:
    made = classification_pb2.ClassificationRequest(input=sent or examples(2.0))
    return with_spec(made, name="two", signature_name=signature, version=123)


def regression(signature: str = "regress_x_to_y") -> Any:
    made = regression_pb2.RegressionRequest(input=examples(2.0))
    return with_spec(made, name="two", signature_name=signature, version=123)


def multi(*tasks: tuple[str, str, str]) -> Any:
    made = inference_pb2.MultiInferenceRequest(input=examples(2.0))
    for name, signature, method in tasks:
        task = made.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = name, signature
    return made


@pytest.mark.parametrize(
    ("spec", "version", "y"),
    [
        ({}, 124, 21.0),
        ({"version": 123}, 123, 3.0),
        ({"version": 124}, 124, 21.0),
        ({"version_label": "stable"}, 123, 3.0),
        ({"name": "three"}, 7, 4.0),
    ],
)
def test_predict(ask: Asker, spec: dict[str, Any], version: int, y: float) -> None:
    response = ask.predict(with_spec(predict_request(), **spec))
    assert list(response.outputs["y"].float_val) == [y]
    answered = response.model_spec
    assert (answered.name, answered.version.value, answered.signature_name) == (
        spec.get("name", "two"),
        version,
        "serving_default",
    )
    assert answered.WhichOneof("version_choice") == "version"


def test_the_later_of_version_and_label_counts(ask: Asker) -> None:
    request = with_spec(predict_request(), version=124)
    request.model_spec.version_label = "stable"
    assert ask.predict(request).model_spec.version.value == 123


def test_a_signature_may_have_no_inputs_and_no_rows(ask: Asker) -> None:
    def count(signature: str, *deltas: float) -> list[float]:
        request = predict_pb2.PredictRequest(output_filter=["output"])
        request.model_spec.name = "counter"
        request.model_spec.signature_name = signature
        for delta in deltas:
            request.inputs["delta"].CopyFrom(tf.make_tensor_proto(np.float32(delta)))
        response = ask.predict(request)
        assert response.model_spec.signature_name == signature
        return list(response.outputs["output"].float_val)

    before = count("get_counter")[0]
    assert count("incr_counter_by", 3.0) == [before + 3.0]
    assert count("get_counter") == [before + 3.0]
    assert refusal(count, "incr_counter_by")[0] == INVALID
    assert refusal(count, "get_counter", 1.0)[0] == INVALID
    assert count("get_counter") == [before + 3.0]


def test_classify_and_regress(ask: Asker) -> None:
    response = ask.classify(classification())
    assert response.result.classifications[0].classes[0].score == 3.0
    spec = response.model_spec
    assert (spec.name, spec.version.value) == ("two", 123)
    assert spec.signature_name == "classify_x_to_y"
    response = ask.regress(regression())
    assert response.result.regressions[0].value == 3.0
    assert response.model_spec.version.value == 123


def test_multi_inference(ask: Asker) -> None:
    response = ask.infer(
        multi(("two", "regress_x_to_y", REGRESS), ("two", "classify_x_to_y", CLASSIFY))
    )
    first, second = response.results
    assert first.regression_result.regressions[0].value == 21.0
    assert second.classification_result.classifications[0].classes[0].score == 21.0
    for result, signature in zip(
        response.results, ("regress_x_to_y", "classify_x_to_y"), strict=True
    ):
        spec = result.model_spec
        assert (spec.name, spec.version.value) == ("two", 124)
        assert spec.signature_name == signature


def test_every_type_goes_over_the_wire(ask: Asker) -> None:
    request = with_spec(predict_request(n=np.array([3, 0])), signature_name="types")
    outputs = ask.predict(request).outputs
    names = {key: tf.as_dtype(value.dtype).name for key, value in outputs.items()}
    assert names == {
        **{kind: kind for kind in ("bfloat16", "int8", "uint16", "uint32", "uint64")},
        **{"half": "float16", "double": "float64", "bool": "bool"},
        **{"complex64": "complex64", "qint8": "qint8"},
    }
    for name, value in outputs.items():
        assert not value.tensor_content
        read = tf.io.parse_tensor(value.SerializeToString(), value.dtype)
        if name != "qint8":
            assert tf.cast(read, tf.complex64).numpy().tolist() == (
                [1, 0] if name == "bool" else [3, 0]
            )


REFUSALS: dict[str, tuple[str, Any, str, str]] = {
    "no model": ("predict", predict_pb2.PredictRequest(), INVALID, "Missing ModelSpec"),
    "no name": (
        "predict",
        predict_request(""),
        INVALID,
        "ModelSpec has no name specified.",
    ),
    "another model": (
        "predict",
        predict_request("nope"),
        "NOT_FOUND",
        "Servable not found for request: Latest(nope)",
    ),
    "another version": (
        "predict",
        with_spec(predict_request(), version=99),
        "NOT_FOUND",
        "Servable not found for request: Specific(two, 99)",
    ),
    "another label": (
        "predict",
        with_spec(predict_request(), version_label="canary"),
        INVALID,
        "Unrecognized servable version label: canary",
    ),
    "another signature": (
        "predict",
        with_spec(predict_request(), signature_name="zz"),
        "FAILED_PRECONDITION",
        'Serving signature key "zz" not found.',
    ),
    "no classification": (
        "classify",
        classification("zz"),
        INVALID,
        "No signature was found with the name: zz",
    ),
    "no regression": (
        "regress",
        regression("zz"),
        INVALID,
        "No signature was found with the name: zz",
    ),
    "an unnamed classification": (
        "classify",
        classification_pb2.ClassificationRequest(),
        INVALID,
        "Missing ModelSpec",
    ),
    "an unnamed regression": (
        "regress",
        regression_pb2.RegressionRequest(),
        INVALID,
        "Missing ModelSpec",
    ),
    "nothing to classify": (
        "classify",
        classification(sent=examples()),
        INVALID,
        "Input is empty.",
    ),
    "no tasks": ("infer", multi(), INVALID, "ModelSpec has no name specified."),
    "another task": (
        "infer",
        multi(("two", "zz", CLASSIFY)),
        INVALID,
        "Requested signature not found in model graph: zz",
    ),
    "two models": (
        "infer",
        multi(("two", "label", CLASSIFY), ("three", "label", CLASSIFY)),
        INVALID,
        "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
    ),
    "one twice": (
        "infer",
        multi(("two", "label", CLASSIFY), ("two", "label", CLASSIFY)),
        INVALID,
        "Duplicate evaluation of signature: label",
    ),
    "another method": (
        "infer",
        multi(("two", "label", "x")),
        "UNIMPLEMENTED",
        "Unsupported signature method_name: x",
    ),
    "no field": (
        "metadata",
        with_spec(get_model_metadata_pb2.GetModelMetadataRequest(), name="two"),
        INVALID,
        "GetModelMetadataRequest must specify at least one metadata_field",
    ),
    "another field": (
        "metadata",
        with_spec(
            get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["X"]),
            name="two",
        ),
        INVALID,
        "Metadata field X is not supported",
    ),
    "no status": (
        "status",
        get_model_status_pb2.GetModelStatusRequest(),
        INVALID,
        "Missing ModelSpec",
    ),
    "status of another model": (
        "status",
        with_spec(get_model_status_pb2.GetModelStatusRequest(), name="m"),
        "NOT_FOUND",
        "Could not find any versions of model m",
    ),
    "status of another version": (
        "status",
        with_spec(get_model_status_pb2.GetModelStatusRequest(), name="two", version=9),
        "NOT_FOUND",
        "Could not find version 9 of model two",
    ),
    "no configuration": (
        "reload",
        model_management_pb2.ReloadConfigRequest(),
        INVALID,
        "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
        "ModelConfigList is currently supported",
    ),
}


@pytest.mark.parametrize(
    ("method", "request_", "code", "words"), REFUSALS.values(), ids=REFUSALS.keys()
)
def test_refusals(
    ask: Asker, method: str, request_: Any, code: str, words: str
) -> None:
    assert refusal(getattr(ask, method), request_) == (code, words)


def test_status(ask: Asker) -> None:
    request = with_spec(get_model_status_pb2.GetModelStatusRequest(), name="two")
    entries = ask.status(request).model_version_status
    assert [(one.version, one.state) for one in entries] == [(124, 30), (123, 30)]
    assert all(one.status.error_code == 0 for one in entries)
    (entry,) = ask.status(with_spec(request, version=123)).model_version_status
    assert (entry.version, entry.status.error_message) == (123, "")
    request = with_spec(request, version_label="nobody")  # a label is not looked at
    assert len(ask.status(request).model_version_status) == 2


def reload(ask: Asker, *configs: dict[str, Any]) -> Any:
    """Configures models; each is "two" with all its versions but for what is said."""
    made = model_management_pb2.ReloadConfigRequest()
    for config in configs:
        one = made.config.model_config_list.config.add()
        one.name = config.get("name", "two")
        one.base_path = config.get("base_path", str(ask.directory / "two"))
        one.model_platform = config.get("platform", "tensorflow")
        one.model_version_policy.all.SetInParent()
        for label, version in config.get("labels", {}).items():
            one.version_labels[label] = version
    return ask.reload(made)


BAD_CONFIGS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "twice": ([{}, {}], "Illegal to list model two multiple times in config list"),
    "relative": (
        [{"base_path": "x"}],
        "Expected model two to have an absolute path or URI; got base_path()=x",
    ),
    "no platform": (
        [{"platform": ""}],
        "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
        "ModelServerConfig::model_platform, model name is two",
    ),
    "another platform": (
        [{"platform": "p"}],
        "Illegal to change a model's platform. For model two platform was tensorflow "
        "and new platform requested is p",
    ),
    "unknown platform": (
        [{"name": "m", "platform": "p"}],
        "Model m requests unsupported platform p",
    ),
}


@pytest.mark.parametrize(
    ("configs", "words"), BAD_CONFIGS.values(), ids=BAD_CONFIGS.keys()
)
def test_bad_configurations(
    ask: Asker, configs: list[dict[str, Any]], words: str
) -> None:
    assert refusal(reload, ask, *configs) == (INVALID, words)
    assert ask.predict(predict_request()).outputs["y"].float_val[0] == 21.0


@pytest.fixture
def restored(ask: Asker) -> Iterator[Asker]:
    """What a test configures is undone."""
    names = ("three", "counter")
    others = [{"name": one, "base_path": str(ask.directory / one)} for one in names]
    yield ask
    reload(ask, {"labels": {"stable": 123}}, *others)


def test_models_come_and_go(restored: Asker) -> None:
    ask = restored
    reload(ask, {"name": "m", "base_path": str(ask.directory / "three")})
    assert ask.predict(predict_request("m")).outputs["y"].float_val[0] == 4.0
    assert refusal(ask.predict, predict_request())[0] == "NOT_FOUND"
    response = reload(ask, {}, {"name": "m"})
    assert response.status.error_code == 0
    assert ask.predict(predict_request()).outputs["y"].float_val[0] == 21.0


def test_labels_move(restored: Asker) -> None:
    ask = restored
    reload(ask, {"labels": {"stable": 124, "old": 123}})
    for label, y in (("stable", 21.0), ("old", 3.0)):
        request = with_spec(predict_request(), version_label=label)
        assert ask.predict(request).outputs["y"].float_val[0] == y
    reload(ask, {"labels": {"stable": 124, "new": 9}})  # that no version has yet
    assert refusal(reload, ask, {"labels": {"stable": 9}}) == (
        "FAILED_PRECONDITION",
        "Request to assign label to version 9 of model two, which is not currently "
        "available for inference",
    )
    assert refusal(ask.predict, with_spec(predict_request(), version_label="new")) == (
        "NOT_FOUND",
        "Servable not found for request: Specific(two, 9)",
    )
    request = with_spec(predict_request(), version_label="stable")
    assert ask.predict(request).model_spec.version.value == 124


def test_a_deadline_reaches_the_computation(ask: Asker) -> None:
    def work(steps: int, timeout: float | None) -> Any:
        request = predict_request(x=np.zeros(1, np.float32), steps=np.int32(steps))
        return ask.predict(with_spec(request, signature_name="work"), timeout)

    for _ in range(4):  # so that the server knows how long it takes
        work(20, None)
    assert refusal(work, 10**8, 0.5)[0] == "DEADLINE_EXCEEDED"
    started = time.monotonic()
    threads = [threading.Thread(target=work, args=(1, None)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Would the large ones go on, they would have kept the cores for hours.
    assert time.monotonic() - started < 20
