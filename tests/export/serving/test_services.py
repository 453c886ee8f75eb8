"""Every answer over the wire, asked with TensorFlow Serving's own stubs."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

import kpg
from kpg.export import Server, ServingError
from kpg.export.loading import prediction
from kpg.export.loading.call import Call, Parked
from kpg.export.loading.servable import Plan
from kpg.export.serving.catalog import Catalog
from kpg.export.serving.metrics import Metrics
from kpg.export.serving.services import Services
from tests.served_models import refusal

OBSERVATIONS = gym.spaces.Box(-1, 1, (2,), np.float32)
INVALID, PRECONDITION = "INVALID_ARGUMENT", "FAILED_PRECONDITION"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves a policy as version 3 of the model `m`."""
    directory = tmp_path_factory.mktemp("m")
    policy = kpg.models.Policy(OBSERVATIONS, gym.spaces.Discrete(3), seed=0)
    kpg.export.export_policy(policy, directory, version=3)
    settings: dict[str, Any] = {"port": 0, "file_system_poll_wait_seconds": 0}
    with Server(directory, model_name="m", **settings) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(server.address) as connected:
        yield connected


def request(
    name: str = "m",
    signature_name: str = "",
    inputs: dict[str, Any] | None = None,
    outputs: tuple[str, ...] = (),
) -> Any:
    made = predict_pb2.PredictRequest()
    made.model_spec.name = name
    made.model_spec.signature_name = signature_name
    if inputs is None:
        inputs = {"observation": np.zeros((1, 2), np.float32)}
    for key, value in inputs.items():
        made.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    made.output_filter.extend(outputs)
    return made


def predict(channel: Any, made: Any) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(made)


def test_predict(channel: Any) -> None:
    response = predict(channel, request())
    spec = response.model_spec
    assert (spec.name, spec.version.value) == ("m", 3)
    assert spec.signature_name == "serving_default"
    assert set(response.outputs) == {"action", "log_prob", "logits"}
    assert len(response.outputs["logits"].float_val) == 3
    assert len(response.outputs["action"].int64_val) == 1


def test_predict_with_everything_said(channel: Any) -> None:
    inputs = {
        "observation": np.zeros((0, 2), np.float32),
        "seed": np.zeros(2, np.int32),
    }
    made = request("m", "sample", inputs, ("logits", "action"))
    made.model_spec.version.value = 3
    response = predict(channel, made)
    assert response.model_spec.signature_name == "sample"
    assert set(response.outputs) == {"action", "logits"}
    assert tf.make_ndarray(response.outputs["logits"]).shape == (0, 3)


def with_version(version: int) -> Any:
    made = request()
    made.model_spec.version.value = version
    return made


def with_label(label: str) -> Any:
    made = request()
    made.model_spec.version_label = label
    return made


def undecodable() -> Any:
    made = request()
    made.inputs["observation"].tensor_content = b"123"
    return made


ROW = np.zeros((1, 2), np.float32)
REFUSALS = {
    "no model spec": (predict_pb2.PredictRequest(), INVALID, "Missing ModelSpec"),
    "empty name": (request(""), INVALID, "ModelSpec has no name specified."),
    "model": (
        request("nope"),
        "NOT_FOUND",
        "Servable not found for request: Latest(nope)",
    ),
    "version": (
        with_version(99),
        "NOT_FOUND",
        "Servable not found for request: Specific(m, 99)",
    ),
    "label": (
        with_label("canary"),
        INVALID,
        "Unrecognized servable version label: canary",
    ),
    "signature": (
        request(signature_name="zz"),
        PRECONDITION,
        'Serving signature key "zz" not found.',
    ),
    "too many inputs": (
        request(inputs={"observation": ROW, "z": ROW}),
        INVALID,
        "input size does not match signature: 2!=1 len({observation,z}) != "
        "len({observation}). Sent extra: {z}. Missing but required: {}.",
    ),
    "no inputs": (
        request(inputs={}),
        INVALID,
        "input size does not match signature: 0!=1 len({}) != len({observation}). "
        "Sent extra: {}. Missing but required: {observation}.",
    ),
    "wrong input": (
        request(inputs={"x": ROW}),
        INVALID,
        "Signature input alias: observation(feed name: "
        "serving_default_observation:0) not found in request and no default value "
        "provided. Inputs expected to be in the request {x}, or default input alias "
        "set: ",
    ),
    "undecodable": (undecodable(), INVALID, "tensor parsing error: observation"),
    "double": (
        request(inputs={"observation": ROW.astype(np.float64)}),
        INVALID,
        "Expects arg[0] to be float but double is provided",
    ),
    "second input": (
        request(
            signature_name="sample",
            inputs={"observation": ROW, "seed": np.zeros(2, np.int64)},
        ),
        INVALID,
        "Expects arg[1] to be int32 but int64 is provided",
    ),
    "output": (
        request(outputs=("q",)),
        INVALID,
        "output tensor alias not found in signature: q Outputs expected to be in the "
        "set {action,log_prob,logits}.",
    ),
    "output twice": (
        request(outputs=("logits", "logits")),
        INVALID,
        "duplicate output tensor alias: logits",
    ),
}


@pytest.mark.parametrize(
    ("made", "code", "words"), REFUSALS.values(), ids=REFUSALS.keys()
)
def test_predict_refuses(channel: Any, made: Any, code: str, words: str) -> None:
    assert refusal(predict, channel, made) == (code, words)


@pytest.mark.parametrize("shape", [(1, 7), (2,), (), (1, 2, 1)])
def test_a_wrong_shape(channel: Any, shape: tuple[int, ...]) -> None:
    made = request(inputs={"observation": np.zeros(shape, np.float32)})
    code, words = refusal(predict, channel, made)
    sizes = ",".join(str(size) for size in shape)
    assert code == INVALID
    assert f"[{sizes}] is not compatible with expected shape [?,2]." in words


def metadata(
    channel: Any, name: str | None = "m", *fields: str, version: int = 0
) -> Any:
    made = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    if name is not None:
        made.model_spec.name = name
    if version:
        made.model_spec.version.value = version
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return stub.GetModelMetadata(made)


def test_metadata(channel: Any) -> None:
    response = metadata(channel, "m", "signature_def")
    assert response.model_spec.name == "m"
    assert response.model_spec.version.value == 3
    assert response.model_spec.signature_name == ""
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    names = {"serving_default", "sample", "__saved_model_init_op"}
    assert set(found.signature_def) == names
    assert (
        found.signature_def["sample"].inputs["seed"].dtype == tf.int32.as_datatype_enum
    )


@pytest.mark.parametrize(
    ("name", "fields", "version", "code", "words"),
    [
        (None, ("signature_def",), 0, INVALID, "Missing ModelSpec"),
        ("", ("signature_def",), 0, INVALID, "ModelSpec has no name specified."),
        (
            "m",
            (),
            0,
            INVALID,
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        ("m", ("X",), 0, INVALID, "Metadata field X is not supported"),
        (
            "nope",
            ("signature_def",),
            0,
            "NOT_FOUND",
            "Servable not found for request: Latest(nope)",
        ),
        (
            "m",
            ("signature_def",),
            4,
            "NOT_FOUND",
            "Servable not found for request: Specific(m, 4)",
        ),
    ],
)
def test_metadata_refuses(
    channel: Any,
    name: str | None,
    fields: tuple[str, ...],
    version: int,
    code: str,
    words: str,
) -> None:
    refused = refusal(lambda: metadata(channel, name, *fields, version=version))
    assert refused == (code, words)


def status(channel: Any, name: str | None, version: int | None = None) -> Any:
    made = get_model_status_pb2.GetModelStatusRequest()
    if name is not None:
        made.model_spec.name = name
    if version is not None:
        made.model_spec.version.value = version
    return model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(made)


@pytest.mark.parametrize("version", [None, 3])
def test_status(channel: Any, version: int | None) -> None:
    (entry,) = status(channel, "m", version).model_version_status
    assert (entry.version, entry.state) == (3, 30)
    assert entry.HasField("status")
    assert (entry.status.error_code, entry.status.error_message) == (0, "")


@pytest.mark.parametrize(
    ("name", "version", "code", "words"),
    [
        (None, None, INVALID, "Missing ModelSpec"),
        ("nope", None, "NOT_FOUND", "Could not find any versions of model nope"),
        ("m", 9, "NOT_FOUND", "Could not find version 9 of model m"),
    ],
)
def test_status_refuses(
    channel: Any, name: str | None, version: int | None, code: str, words: str
) -> None:
    assert refusal(status, channel, name, version) == (code, words)


def test_long_messages_are_cut(channel: Any) -> None:
    code, words = refusal(predict, channel, request(outputs=("q" * 3000,)))
    assert code == INVALID
    assert len(words) == 1024 + len("...TRUNCATED") and words.endswith("...TRUNCATED")


def test_messages_are_cut_by_bytes_between_characters(channel: Any) -> None:
    code, words = refusal(predict, channel, request("😀" * 1000))
    assert code == "NOT_FOUND"
    start = "Servable not found for request: Latest("
    assert words == start + "😀" * ((1024 - len(start)) // 4) + "...TRUNCATED"


def test_large_messages_pass(server: Server) -> None:
    options = [("grpc.max_receive_message_length", -1)]
    rows = 600_000  # 4.8 MB there and more back; gRPC's default limit is 4 MB
    inputs = {"observation": np.zeros((rows, 2), np.float32)}
    with grpc.insecure_channel(server.address, options) as channel:
        response = predict(channel, request(inputs=inputs))
    assert tf.make_ndarray(response.outputs["logits"]).shape == (rows, 3)


def test_what_is_quick_is_answered_where_it_arrives(
    channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, real = [], prediction.predict

    def predict_there(*arguments: Any, **named: Any) -> Any:
        response = real(*arguments, **named)
        answered.append(threading.current_thread().name)
        return response

    monkeypatch.setattr(prediction, "predict", predict_there)
    for _ in range(1000):
        predict(channel, request())
        if not answered[-1].startswith("ThreadPoolExecutor"):
            return
    pytest.fail("no request has been answered by the thread that received it")


def test_a_fault_of_the_server_is_internal(
    channel: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: Any, **named: Any) -> Any:
        raise KeyError("a fault")

    monkeypatch.setattr(prediction, "predict", fail)
    code, words = refusal(predict, channel, request())
    assert (code, words) == ("INTERNAL", "KeyError: 'a fault'")
    assert "A request failed" in caplog.text


def test_a_broken_version_shows_in_the_status(channel: Any, server: Server) -> None:
    Path(server.model.directory, "4").mkdir()
    with pytest.raises(ServingError, match="Version 4"):
        server.model.poll()
    entries = status(channel, "m").model_version_status
    assert [(entry.version, entry.state) for entry in entries] == [(4, 50), (3, 30)]
    assert entries[0].status.error_code == 5
    assert "saved_model.pb" in entries[0].status.error_message
    assert predict(channel, request()).model_spec.version.value == 3


@pytest.mark.parametrize("is_batching", [False, True])
def test_a_request_leaves_nothing_to_collect(tmp_path: Path, is_batching: bool) -> None:
    class Slow(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 2], name="observation")])
        def act(self, observation: Any) -> Any:
            ones = tf.ones([400, 400])  # takes more than what is answered at once
            return {"y": observation + tf.reduce_sum(ones @ ones @ ones) * 0.0}

    module = Slow()
    signatures = {"serving_default": module.act}
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=signatures)
    settings: dict[str, Any] = {"model_name": "m", "enable_batching": is_batching}
    with Server(tmp_path, port=0, **settings) as running:
        with grpc.insecure_channel(running.address) as channel:
            for _ in range(5):
                predict(channel, request())
            gc.collect()
            gc.disable()
            for _ in range(10):
                predict(channel, request())
            found = gc.collect()
            gc.enable()
    assert found < 10


class Parking:
    """A version that parks each request once."""

    checks_method_names = False

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        made = meta_graph_pb2.SignatureDef()
        for tensor in (made.inputs["observation"], made.outputs["y"]):
            tensor.dtype = tf.float32.as_datatype_enum
        self.signatures = {"serving_default": made}
        self.plans = {"serving_default": Plan.of(made)}
        self.is_closed = False

    def run(self, name: str, inputs: Any, outputs: Any, call: Call) -> Any:
        if call.task is None:
            call.task = "done when it comes back"
            raise Parked
        assert not self.is_closed
        return {"y": inputs["observation"]}

    def run_tensors(self, *arguments: Any) -> Any: ...

    def close(self) -> None:
        self.is_closed = True


def test_a_parked_request_is_answered_by_its_version(tmp_path: Path) -> None:
    loaded = []

    def load(path: Path) -> Any:
        loaded.append(Parking(path))
        return loaded[-1]

    (tmp_path / "1").mkdir()
    catalog = Catalog(load)
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(
        name="m", base_path=str(tmp_path), model_platform="tensorflow"
    )
    catalog.reload(config)
    services, call, made = Services(catalog, Metrics()), Call(), request()
    with pytest.raises(Parked):
        services.predict(made, call)
    (tmp_path / "2").mkdir()
    catalog.poll()
    assert len(loaded) == 2 and not loaded[0].is_closed
    answer = services.predict(made, call)
    assert answer.model_spec.version.value == 1
    until = time.monotonic() + 20.0
    while not loaded[0].is_closed and time.monotonic() < until:
        time.sleep(0.01)  # closed in a thread of its own
    assert loaded[0].is_closed
