"""Ports, sockets, TLS, health, reflection and tokens, as gRPC clients see them."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from kpg.export import Server, ServingError
from kpg.export.serving import endpoint
from tests.served_models import free_port, publish, refusal


def status(channel: Any, **call: Any) -> int:
    """Returns the state of the newest version."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "m"
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    answer = stub.GetModelStatus(request, timeout=20, **call)
    return int(answer.model_version_status[0].state)


def health(channel: Any, service: str = "") -> str:
    request = health_pb2.HealthCheckRequest(service=service)
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(request, timeout=20)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("m")
    publish(path)
    return path


@pytest.fixture(scope="module")
def certificate() -> dict[str, str]:
    """A key and a certificate for localhost, signed by itself."""
    path = Path(__file__).parents[2] / "certificates"
    files = {"key": "key.pem", "cert": "server.pem"}
    return {name: (path / file).read_text() for name, file in files.items()}


@pytest.fixture(scope="module")
def guarded(
    directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server on a port and a socket that wants a token and keeps a log."""
    path = tmp_path_factory.mktemp("g")
    (path / "token").write_text("secret")
    with Server(
        directory,
        port=free_port(),
        rest_api_port=free_port(),
        model_name="m",
        grpc_socket_path=str(path / "socket"),
        token_file=str(path / "token"),
        access_log=str(path / "log"),
        grpc_channel_arguments="grpc.max_connection_age_ms=2000,grpc.x=y",
    ) as server:
        yield server


def test_without_the_token(guarded: Server) -> None:
    with grpc.insecure_channel(guarded.address) as channel:
        for metadata in ((), (("authorization", "Bearer secre"),)):
            code, words = refusal(status, channel, metadata=metadata)
            assert code == "UNAUTHENTICATED" and "Bearer <token>" in words
        assert status(channel, metadata=(("authorization", "Bearer secret"),)) == 30
        assert health(channel) == "SERVING"  # probes have no token


def test_without_the_token_over_rest(guarded: Server) -> None:
    def asked(path: str, token: str = "") -> int:
        connection = http.client.HTTPConnection(guarded.rest_address, timeout=20)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", path, headers=headers)
        code = connection.getresponse().status
        connection.close()
        return code

    for path in ("/v1/models/m", "/v1/models/m/metadata", "/monitoring", "/"):
        assert asked(path) == asked(path, "secre") == 401
    assert asked("/v1/models/m", "secret") == 200


def test_the_socket_answers_like_the_port(guarded: Server) -> None:
    path = guarded.settings.grpc_socket_path
    with grpc.insecure_channel(f"unix:{path}") as channel:
        assert status(channel, metadata=(("authorization", "Bearer secret"),)) == 30


def test_the_log_says_who_asked_for_what(guarded: Server) -> None:
    with grpc.insecure_channel(guarded.address) as channel:
        status(channel, metadata=(("authorization", "Bearer secret"),))
    entry = json.loads(Path(guarded.settings.access_log).read_text().splitlines()[-1])
    assert entry["method"] == "GetModelStatus" and entry["model"] == "m"
    assert entry["interface"] == "GRPC" and entry["code"] == "OK"
    assert "127.0.0.1" in entry["peer"] and entry["received"] > 0 < entry["sent"]
    assert "secret" not in json.dumps(entry)


def test_a_socket_alone(directory: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with Server(directory, port=0, model_name="m", grpc_socket_path=path) as server:
        assert server.port == 0  # that is no port, as in TensorFlow Serving
        with grpc.insecure_channel(server.address) as channel:
            assert status(channel) == 30


def test_health_and_reflection(tmp_path: Path) -> None:
    publish(tmp_path / "m")
    with (
        Server(
            tmp_path / "m", port=0, model_name="m", file_system_poll_wait_seconds=0
        ) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        names = ("", "m", "PredictionService", endpoint.MODEL)
        assert {health(channel, name) for name in names} == {"SERVING"}
        assert refusal(health, channel, "x")[0] == "NOT_FOUND"
        services = ProtoReflectionDescriptorDatabase(channel).get_services()
        assert {endpoint.PREDICTION, endpoint.MODEL} <= set(services)
        (tmp_path / "m" / "1").rename(tmp_path / "away")
        server.catalog.poll()
        assert {health(channel, name) for name in names} == {"NOT_SERVING"}


def test_probes_are_answered_under_load(directory: Path) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.model_spec.signature_name = "work"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.zeros(1, np.float32)))
    request.inputs["steps"].CopyFrom(tf.make_tensor_proto(np.int32(10_000)))
    with Server(directory, port=0, model_name="m", grpc_max_threads=2) as server:
        with grpc.insecure_channel(server.address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            calls = [stub.Predict.future(request) for _ in range(8)]
            assert health(channel) == "SERVING" and status(channel) == 30
            assert not any(call.done() for call in calls[-4:])
            for call in calls:
                call.cancel()


def test_health_may_be_switched_off(directory: Path) -> None:
    settings: dict[str, Any] = {"port": 0, "enable_grpc_healthcheck_service": False}
    with Server(directory, model_name="m", **settings) as server:
        with grpc.insecure_channel(server.address) as channel:
            assert refusal(health, channel)[0] == "UNIMPLEMENTED"
            assert status(channel) == 30


def ssl_config(path: Path, certificate: dict[str, str], **more: Any) -> str:
    values = {"server_key": certificate["key"], "server_cert": certificate["cert"]}
    lines = [f"{k}: {json.dumps(v)}" for k, v in {**values, **more}.items()]
    (path / "ssl").write_text("\n".join(lines))
    return str(path / "ssl")


def test_tls(directory: Path, certificate: dict[str, str], tmp_path: Path) -> None:
    file = ssl_config(tmp_path, certificate)
    with Server(directory, port=0, model_name="m", ssl_config_file=file) as server:
        address = f"localhost:{server.port}"
        trust = grpc.ssl_channel_credentials(certificate["cert"].encode())
        with grpc.secure_channel(address, trust) as channel:
            assert status(channel) == 30
        with grpc.insecure_channel(address) as channel:
            assert refusal(status, channel)[0] == "UNAVAILABLE"
        with grpc.secure_channel(address, grpc.ssl_channel_credentials()) as channel:
            assert refusal(status, channel)[0] == "UNAVAILABLE"


def test_clients_with_certificates(
    directory: Path, certificate: dict[str, str], tmp_path: Path
) -> None:
    file = ssl_config(tmp_path, certificate, client_verify=True)
    with pytest.raises(ServingError, match="client_verify needs the custom_ca"):
        Server(directory, port=0, ssl_config_file=file)
    cert, key = certificate["cert"], certificate["key"]
    file = ssl_config(tmp_path, certificate, client_verify=True, custom_ca=cert)
    with Server(directory, port=0, model_name="m", ssl_config_file=file) as server:
        address = f"localhost:{server.port}"
        known = grpc.ssl_channel_credentials(cert.encode(), key.encode(), cert.encode())
        with grpc.secure_channel(address, known) as channel:
            assert status(channel) == 30
        stranger = grpc.ssl_channel_credentials(cert.encode())
        with grpc.secure_channel(address, stranger) as channel:
            assert refusal(status, channel)[0] == "UNAVAILABLE"


def test_arguments_of_the_channel(directory: Path) -> None:
    with pytest.raises(ServingError, match="must be name=value.*Received: x"):
        Server(directory, port=0, grpc_channel_arguments="a=1,x")
    limit = "grpc.max_receive_message_length=10"
    with (
        Server(
            directory, port=0, model_name="m", grpc_channel_arguments=limit
        ) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "m" * 100
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        assert refusal(stub.GetModelStatus, request)[0] == "RESOURCE_EXHAUSTED"


def test_addresses() -> None:
    assert endpoint.address("::1", 1) == "[::1]:1"
    assert endpoint.address("127.0.0.1", 1) == "127.0.0.1:1"
