"""The REST interface over HTTP, as TensorFlow Serving's handler is tested."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kpg.export import Server
from kpg.export.serving import rest
from tests.served_models import free_port, publish


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("served")
    (directory / "m").mkdir()
    publish(directory / "m", 123)
    (directory / "monitoring").write_text("prometheus_config { enable: true }")
    (directory / "models").write_text(
        'model_config_list { config { name: "a/b" model_platform: "tensorflow" '
        f'base_path: "{directory / "m"}" version_labels {{ key: "s" value: 123 }} }} '
        f'config {{ name: "m" model_platform: "tensorflow" base_path: '
        f'"{directory / "m"}" }} }}'
    )
    with Server(
        port=0,
        rest_api_port=free_port(),
        model_config_file=str(directory / "models"),
        monitoring_config_file=str(directory / "monitoring"),
        file_system_poll_wait_seconds=0,
        rest_api_timeout_in_ms=1000,
        rest_api_enable_cors_support=True,
    ) as running:
        yield running


def ask(
    server: Server, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, Any]:
    """Returns the status and the JSON of an answer."""
    connection = http.client.HTTPConnection(server.rest_address, timeout=20)
    if body is not None and not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    if "json" not in response.headers["Content-Type"]:
        return response.status, content.decode()
    return response.status, json.loads(content) if content else None


ANSWERS: dict[str, tuple[str, object, object]] = {
    "rows": ("/v1/models/m:predict", {"instances": [2.0, 3, 4.0]}, [3.0, 3.5, 4.0]),
    "columns": ("/v1/models/m:predict", {"inputs": [2.0, 3.0]}, [3.0, 3.5]),
    "a column with a name": ("/v1/models/m:predict", {"inputs": {"x": [2.0]}}, [3.0]),
    "rows with names": ("/v1/models/m:predict", {"instances": [{"x": 2}]}, [3.0]),
    "a version": ("/v1/models/m/versions/123:predict", {"instances": [2]}, [3.0]),
    "a label": ("/v1/models/a%2Fb/labels/s:predict", {"instances": [2]}, [3.0]),
    "in capitals": ("/V1/Models/m:Predict", {"instances": [2]}, [3.0]),
    "short numbers": ("/v1/models/m:predict", {"instances": [0.2]}, [2.1]),
    "to classify": (
        "/v1/models/m:classify",
        {"signature_name": "label", "examples": [{"x": 2.0}, {}]},
        [[["3.0", 3.0]], [["5.5", 5.5]]],
    ),
    "to regress": (
        "/v1/models/m:regress",
        {"signature_name": "regress_x_to_y", "examples": [{"x": [2.0]}]},
        [3.0],
    ),
    "strange numbers": (
        "/v1/models/m:regress",
        {
            "signature_name": "regress_x_to_y",
            "examples": [{"x": math.inf}, {"x": -math.inf}],
        },
        [math.inf, -math.inf],
    ),
    "with a context": (
        "/v1/models/m:regress",
        {
            "signature_name": "regress_x_to_y",
            "context": {"x": 8.0},
            "examples": [{}, {"x": 2.0}],
        },
        [6.0, 3.0],
    ),
    "several inputs and outputs": (
        "/v1/models/m:predict",
        {
            "signature_name": "both",
            "instances": [
                {"a": [1, 2.5], "b": {"b64": "/w=="}},
                {"a": [0, 0], "b": ""},
            ],
        },
        None,
    ),
}


@pytest.mark.parametrize(
    ("path", "sent", "wanted"), ANSWERS.values(), ids=ANSWERS.keys()
)
def test_answers(server: Server, path: str, sent: Any, wanted: Any) -> None:
    if wanted is None:
        sent["instances"][0]["b"] = {"b64": base64.b64encode(b"ab").decode()}
        wanted = [
            {"total": 3.5, "name_bytes": {"b64": "YWI="}, "name": "ab"},
            {"total": 0.0, "name_bytes": {"b64": ""}, "name": ""},
        ]
    key = "outputs" if "inputs" in sent else "predictions"
    key = "results" if "examples" in sent else key
    assert ask(server, "POST", path, sent) == (200, {key: wanted})


ERRORS: dict[str, tuple[str, str, object, int, str]] = {
    "no document": ("POST", "m:predict", b"", 400, "The document is empty"),
    "no JSON": ("POST", "m:predict", b"{", 400, "JSON Parse error: "),
    "no object": ("POST", "m:predict", [1], 400, "JSON Value: [1] Is not object"),
    "another model": (
        "POST",
        "nope:predict",
        {"instances": [1]},
        404,
        "Servable not found for request: Latest(nope)",
    ),
    "another version": (
        "POST",
        "m/versions/9:predict",
        {"instances": [1]},
        404,
        "Servable not found for request: Specific(m, 9)",
    ),
    "a version too large": (
        "POST",
        f"m/versions/{2**63}:predict",
        {"instances": [1]},
        400,
        f"Failed to convert version: {2**63} to numeric.",
    ),
    "another label": (
        "POST",
        "m/labels/x:predict",
        {"instances": [1]},
        400,
        "Unrecognized servable version label: x",
    ),
    "another signature": (
        "POST",
        "m:predict",
        {"signature_name": "zz", "instances": [1]},
        400,
        'Serving signature name: "zz" not found in signature def',
    ),
    "another type": (
        "POST",
        "m:predict",
        {"instances": ["a"]},
        400,
        "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
        'JSON Value: "a" Type: String is not of expected type: float',
    ),
    "nothing to classify": (
        "POST",
        "m:classify",
        {"examples": []},
        400,
        "JSON Value: {\"examples\": []} 'examples' value is an empty array",
    ),
    "no such type in JSON": (
        "POST",
        "m:predict",
        {"signature_name": "types", "instances": [1]},
        400,
        "Failed to write JSON value for tensor type: bfloat16",
    ),
    "no status": (
        "GET",
        "nope",
        None,
        404,
        "Could not find any versions of model nope",
    ),
    "no metadata": (
        "GET",
        "nope/metadata",
        None,
        404,
        "Servable not found for request: Latest(nope)",
    ),
    "a name of another type": (
        "POST",
        "m:predict",
        {"signature_name": 100},
        400,
        "'signature_name' key must be a string value.",
    ),
    "deep lists": (
        "POST",
        "m:predict",
        '{"instances": ' + "[" * 100_000 + "]" * 100_000 + "}",
        400,
        "JSON Parse error: ",
    ),
    "many dimensions": (
        "POST",
        "m:predict",
        '{"inputs": ' + "[" * 100 + "1" + "]" * 100 + "}",
        400,
        "cannot become a tensor of float with 100 dimensions",
    ),
    "a path to elsewhere": (
        "GET",
        "..%2F..%2Fetc%2Fpasswd",
        None,
        404,
        "Could not find any versions of model ../../etc/passwd",
    ),
}


@pytest.mark.parametrize(
    ("verb", "path", "sent", "status", "words"), ERRORS.values(), ids=ERRORS.keys()
)
def test_errors(
    server: Server, verb: str, path: str, sent: Any, status: int, words: str
) -> None:
    got, answer = ask(server, verb, f"/v1/models/{path}", sent)
    assert got == status, answer
    assert set(answer) == {"error"} and words in answer["error"]


def test_what_is_not_there(server: Server) -> None:
    for path in ("/", "/index", "/statuspage"):
        assert ask(server, "GET", path)[0] == 404
    assert ask(server, "GET", "/v1/models") == (
        400,
        {"error": "Missing model name in request."},
    )


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/v1/foo"),
        ("POST", "/v1/foo"),
        ("GET", "/v1/models/debug/m"),
        ("POST", "/v1/models"),
        ("PUT", "/v1/models/m"),
        ("GET", "/v1/models/m:predict"),
        ("POST", "/v1/models/m:explain"),
        ("GET", "/v1/models/m/version/50:predict"),
        ("POST", "/v1/models/m/version/50:regress"),
        ("POST", "/v1/models/m/versions/HELLO:regress"),
        ("POST", "/v1/models/m/metadata"),
        ("POST", "/v1/models/m/label/s:regress"),
        ("POST", "/v1/models/m/versions/50/labels/s:regress"),
    ],
)
def test_what_is_malformed(server: Server, verb: str, path: str) -> None:
    words = {"error": f"Malformed request: {verb} {path}"}
    assert ask(server, verb, path, {}) == (400, words)


@pytest.mark.parametrize("path", ["m", "m/versions/123", "a%2Fb/labels/s"])
def test_status(server: Server, path: str) -> None:
    status = {"error_code": "OK", "error_message": ""}
    entry = {"version": "123", "state": "AVAILABLE", "status": status}
    assert ask(server, "GET", f"/v1/models/{path}") == (
        200,
        {"model_version_status": [entry]},
    )


def test_metadata(server: Server) -> None:
    code, answer = ask(server, "GET", "/v1/models/m/metadata")
    assert code == 200
    spec = {"name": "m", "signature_name": "", "version": "123"}
    assert answer["model_spec"] == spec
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    x = signatures["serving_default"]["inputs"]["x"]
    assert x["dtype"] == "DT_FLOAT"
    assert x["tensor_shape"] == {
        "dim": [{"name": "", "size": "-1"}],
        "unknown_rank": False,
    }


def test_metrics(server: Server) -> None:
    ask(server, "POST", "/v1/models/m:predict", {"instances": [1]})
    ask(server, "POST", "/v1/models/stranger:predict", {"instances": [1]})
    code, page = ask(server, "GET", "/monitoring/prometheus/metrics")
    assert code == 200
    assert "# TYPE :tensorflow:serving:request_count counter" in page
    assert ':request_count{model_name="m",status="OK"}' in page
    assert "stranger" not in page  # clients must not fill the memory with names
    assert (
        ':request_latency_count{model_name="m",API="Predict",entrypoint="REST"}' in page
    )
    assert ':runtime_latency_bucket{model_name="m",API="Predict",runtime="TF1",le="10"}'


def test_other_origins(server: Server) -> None:
    path = "/v1/models/m:predict"
    assert ask(server, "OPTIONS", path, Origin="https://example.org")[0] == 200
    code, answer = ask(server, "OPTIONS", path)
    assert (code, answer["error"]) == (
        400,
        "Origin header is missing in CORS preflight",
    )
    connection = http.client.HTTPConnection(server.rest_address)
    connection.request("GET", "/v1/models/m")
    headers = connection.getresponse().headers
    connection.close()
    assert headers["Access-Control-Allow-Origin"] == "*"


def test_a_request_may_take_so_long(server: Server) -> None:
    def work(steps: int) -> tuple[int, Any]:
        sent = {"signature_name": "work", "inputs": {"x": [0.0], "steps": steps}}
        return ask(server, "POST", "/v1/models/m:predict", sent)

    for _ in range(4):  # so that the server knows how long it takes
        assert work(20)[0] == 200
    code, answer = work(10**8)
    assert (code, answer) == (504, {"error": "Timed out waiting for notification"})


def test_a_body_that_is_too_large(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.rest_api_port)) as raw:
        length = rest.MOST_BYTES + 1
        head = f"POST /v1/models/m:predict HTTP/1.1\r\nContent-Length: {length}\r\n\r\n"
        raw.sendall(head.encode())
        assert b"413" in raw.recv(1000)


def test_a_body_may_be_packed_and_is_no_bomb(server: Server) -> None:
    path, packed = "/v1/models/m:predict", {"Content-Encoding": "gzip"}
    body = gzip.compress(b'{"instances": [2.0]}')
    assert ask(server, "POST", path, body, **packed) == (200, {"predictions": [3.0]})
    bomb = gzip.compress(b" " * (rest.MOST_BYTES + 1), 1)
    for wrong, words in (
        (b"no gzip", "must be packed as gzip does"),
        (body[:-9], "must be whole, and at most"),
        (bomb, "must be whole, and at most"),
    ):
        code, answer = ask(server, "POST", path, wrong, **packed)
        assert code == 400 and words in answer["error"]


def test_slow_clients_keep_no_thread(server: Server) -> None:
    address = "127.0.0.1", server.rest_api_port
    slow = [socket.create_connection(address) for _ in range(100)]
    for one in slow:
        one.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nContent-Length: 9\r\n\r\n{")
    assert ask(server, "POST", "/v1/models/m:predict", {"instances": [2]})[0] == 200
    for one in slow:
        one.close()


def test_who_is_being_answered_when_it_stops_gets_the_answer(tmp_path: Path) -> None:
    publish(tmp_path)
    server = Server(tmp_path, port=0, rest_api_port=free_port()).start()
    answers = []

    def work() -> None:
        sent = {"signature_name": "work", "inputs": {"x": [1.0], "steps": 20_000}}
        answers.append(ask(server, "POST", "/v1/models/default:predict", sent))

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.3)
    server.stop()
    thread.join()
    assert answers == [(200, {"outputs": [1.0]})]
    with pytest.raises(OSError):
        ask(server, "GET", "/v1/models/default")
