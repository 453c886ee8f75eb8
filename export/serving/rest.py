"""The REST interface, and the page with the metrics, on a port of their own.

Waitress serves them: it reads a request whole before a thread has to do with it, so
that slow clients cost nothing, limits what they may send, and has no dependencies.
Reference: model_servers/{http_server,http_rest_api_handler,http_rest_api_util}.cc in
tensorflow_serving.
"""

from __future__ import annotations

import re
import socket
import threading
import time
import urllib.parse
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import waitress.server
from google.protobuf import json_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    regression_pb2,
)

from kpg.export.loading import prediction
from kpg.export.loading.call import Call
from kpg.export.serving import json_examples, json_tensors, json_values
from kpg.export.serving.access import UNAUTHENTICATED, Token
from kpg.export.serving.services import Answered, Services, as_known
from kpg.export.wire import names
from kpg.export.wire.errors import ServingError, invalid

_VERSION = r"(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?"
_POST = re.compile(
    rf"/v1/models/([^/:]+){_VERSION}:(classify|regress|predict)", re.IGNORECASE
)
_GET = re.compile(rf"/v1/models(?:/([^/:]+))?{_VERSION}(?:/(metadata))?", re.IGNORECASE)

_STATUSES = {
    "OK": "200 OK",
    "CANCELLED": "499 Client Closed Request",
    "INVALID_ARGUMENT": "400 Bad Request",
    "DEADLINE_EXCEEDED": "504 Gateway Timeout",
    "NOT_FOUND": "404 Not Found",
    "ALREADY_EXISTS": "409 Conflict",
    "PERMISSION_DENIED": "403 Forbidden",
    "RESOURCE_EXHAUSTED": "429 Too Many Requests",
    "FAILED_PRECONDITION": "400 Bad Request",
    "ABORTED": "409 Conflict",
    "OUT_OF_RANGE": "400 Bad Request",
    "UNIMPLEMENTED": "501 Not Implemented",
    "UNAVAILABLE": "503 Service Unavailable",
    "UNAUTHENTICATED": "401 Unauthorized",
}
_OTHER_STATUS = "500 Internal Server Error"

_CORS = [
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
]
# Values take up to 20 times as much memory as their JSON, so that this is 640 MB.
MOST_BYTES = 2**25


@dataclass(frozen=True)
class _Target:
    """What the path of a request names."""

    method: str = ""
    model: str = ""
    version: int | None = None
    label: str = ""

    def spec(self) -> model_pb2.ModelSpec:
        """Returns it as gRPC requests say it."""
        made = model_pb2.ModelSpec(name=self.model)
        if self.version is not None:
            made.version.value = self.version
        if self.label:
            made.version_label = self.label
        return made


class Rest:
    """A WSGI application, and the server that runs it."""

    def __init__(
        self,
        services: Services,
        *,
        host: str,
        port: int,
        threads: int,
        timeout: float,
        metrics_path: str = "",
        token: Token | None = None,
        cors: bool = False,
    ) -> None:
        """Takes the port; `start` begins to answer.

        Args:
            services: What answers.
            host: The interface to listen on.
            port: The port.
            threads: Requests processed at a time.
            timeout: Seconds that a request may take, 0 for any number.
            metrics_path: Where the metrics are; empty for nowhere.
            token: What requests must bring.
            cors: Whether pages of other origins may read the answers.
        """
        self._services, self._timeout = services, timeout
        self._metrics_path, self._token, self._cors = metrics_path, token, cors
        self._sockets: dict[int, Any] = {}
        self._active, self._is_stopping = 0, False
        self._counting = threading.Lock()
        # Of one class for one address, which pyright does not know.
        self._server: Any = waitress.server.create_server(
            self.answer,
            map=self._sockets,
            host=socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0],
            port=port,
            threads=threads,
            ident="kpg",
            connection_limit=1000,
            max_request_body_size=MOST_BYTES,
            clear_untrusted_proxy_headers=True,
        )
        self.port = int(self._server.effective_port)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def start(self) -> None:
        """Begins to answer. Returns at once."""
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Takes no new requests, and gives those under way `grace` seconds."""
        self._server.accepting = False
        self._is_stopping = True
        end = time.monotonic() + grace
        while self._is_busy() and time.monotonic() < end:
            time.sleep(0.01)
        self._server.task_dispatcher.shutdown(timeout=0.1)
        # Its sockets are touched by the thread of its loop alone, which then ends.
        self._server.trigger.pull_trigger(self._close)
        if self._thread.is_alive():
            self._thread.join()
        else:
            self._close()

    def _is_busy(self) -> bool:
        channels = list(self._sockets.values())
        unsent = any(getattr(one, "total_outbufs_len", 0) for one in channels)
        return self._active > 0 or unsent

    def _close(self) -> None:
        for one in list(self._sockets.values()):
            if one is not self._server and one is not self._server.trigger:
                one.close()
        self._server.close()

    def answer(
        self, environ: Mapping[str, Any], start_response: Callable[..., object]
    ) -> Iterable[bytes]:
        """Answers a request, see WSGI (PEP 3333)."""
        with self._counting:
            self._active += 1
        try:
            return [self._answer(environ, start_response)]
        finally:
            with self._counting:
                self._active -= 1

    def _answer(
        self, environ: Mapping[str, Any], start_response: Callable[..., object]
    ) -> bytes:
        started = time.perf_counter()
        verb = environ["REQUEST_METHOD"]
        path = urllib.parse.urlsplit(environ["REQUEST_URI"]).path
        kind, target, call = "application/json", _Target(), Call()
        code, body, sent = "OK", b"", b""
        try:
            self._check(environ)
            if path == self._metrics_path:
                kind, body = "text/plain", self._services.metrics.page().encode()
            elif verb == "OPTIONS":
                _check_origin(environ)
            else:
                target = _parse(verb, path)
                call = Call(self._timeout or None)
                sent = _body(environ)
                body = self._dispatch(target, sent, call)
        except Exception as error:  # a client is answered whatever it was
            known = as_known(error)
            code, body = known.code, json_values.dumps({"error": known.message})
        headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        start_response(
            _STATUSES.get(code, _OTHER_STATUS), headers + (_CORS if self._cors else [])
        )
        if path != self._metrics_path:
            self._services.note(
                Answered(
                    interface="REST",
                    method=target.method or f"{verb} {path}",
                    model=target.model,
                    code=code,
                    seconds=time.perf_counter() - started,
                    peer=str(environ.get("REMOTE_ADDR", "")),
                    received=len(sent),
                    sent=len(body),
                ),
                call,
            )
        return body

    def _check(self, environ: Mapping[str, Any]) -> None:
        if self._is_stopping:
            raise ServingError("UNAVAILABLE", "The server is stopping")
        sent = str(environ.get("HTTP_AUTHORIZATION", ""))
        if self._token is not None and not self._token.allows(sent):
            raise UNAUTHENTICATED

    def _dispatch(self, target: _Target, sent: bytes, call: Call) -> bytes:
        if target.method == "Predict":
            return self._predict(target, sent, call)
        if target.method == "Classify":
            return self._classify(target, sent, call)
        if target.method == "Regress":
            return self._regress(target, sent, call)
        if not target.model:
            raise invalid("Missing model name in request.")
        if target.method == "GetModelMetadata":
            return self._metadata(target)
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=target.spec())
        status = self._services.get_model_status(request, call)
        text = json_format.MessageToJson(
            status,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        return str(text).encode()

    def _predict(self, target: _Target, sent: bytes, call: Call) -> bytes:
        document = json_values.parse(sent)
        name = json_values.signature_name(document) or names.GREEDY
        with self._services.catalog.lease(target.spec()) as (_, servable):
            signature = servable.signatures.get(name)
            if signature is None:
                raise invalid(
                    f'Serving signature name: "{name}" not found in signature def'
                )
            prediction.find_signature(servable, name)
            call.signature_name = name
            inputs, by_rows = json_tensors.read_predict(document, signature)
            outputs = prediction.run(servable, name, inputs, None, call)
        return json_values.dumps(json_tensors.write_predict(outputs, by_rows))

    def _classify(self, target: _Target, sent: bytes, call: Call) -> bytes:
        document = json_values.parse(sent)
        request = classification_pb2.ClassificationRequest(model_spec=target.spec())
        request.model_spec.signature_name = json_values.signature_name(document)
        request.input.CopyFrom(json_examples.read_examples(document))
        result = self._services.classify(request, call).result
        if not result.classifications:
            raise invalid("Cannot convert empty ClassificationResults to JSON")
        rows = [
            [[one.label, _short(one.score)] for one in row.classes]
            for row in result.classifications
        ]
        return json_values.dumps({"results": rows})

    def _regress(self, target: _Target, sent: bytes, call: Call) -> bytes:
        document = json_values.parse(sent)
        request = regression_pb2.RegressionRequest(model_spec=target.spec())
        request.model_spec.signature_name = json_values.signature_name(document)
        request.input.CopyFrom(json_examples.read_examples(document))
        result = self._services.regress(request, call).result
        if not result.regressions:
            raise invalid("Cannot convert empty RegressionResults to JSON")
        return json_values.dumps(
            {"results": [_short(one.value) for one in result.regressions]}
        )

    def _metadata(self, target: _Target) -> bytes:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=target.spec(), metadata_field=["signature_def"]
        )
        response = self._services.get_model_metadata(request, Call())
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        spec, found = (
            json_format.MessageToDict(
                message,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            )
            for message in (response.model_spec, signatures)
        )
        return json_values.dumps(
            {"model_spec": spec, "metadata": {"signature_def": found}}
        )


def _parse(verb: str, path: str) -> _Target:
    """Reads the path of a request; percent-encoding may hide what separates parts."""
    match = None
    if verb == "POST":
        match = _POST.fullmatch(path)
    elif verb == "GET":
        match = _GET.fullmatch(path)
    if match is None:
        if not path.lower().startswith("/v1/"):
            raise ServingError("NOT_FOUND", f"There is nothing at {path}")
        raise invalid(f"Malformed request: {verb} {path}")
    model, version, label, method = match.groups()
    number = int(version) if version else None
    if number is not None and number >= 2**63:
        raise invalid(f"Failed to convert version: {version} to numeric.")
    methods = {"metadata": "GetModelMetadata", None: "GetModelStatus"}
    method = method.lower() if method else None
    return _Target(
        methods.get(method) or str(method).title(),
        urllib.parse.unquote(model or ""),
        number,
        urllib.parse.unquote(label or ""),
    )


def _body(environ: Mapping[str, Any]) -> bytes:
    """Reads the body of a request, which may be packed, and little of much."""
    sent: bytes = environ["wsgi.input"].read()
    if "gzip" not in str(environ.get("HTTP_CONTENT_ENCODING", "")):
        return sent
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        body = unpacker.decompress(sent, MOST_BYTES)
    except zlib.error as error:
        words = f"The body must be packed as gzip does. Received: {error}"
        raise invalid(words) from error
    if not unpacker.eof:
        raise invalid(
            f"The body must be whole, and at most {MOST_BYTES} bytes when it is "
            f"unpacked; use gRPC for more. Received: {len(sent)} bytes"
        )
    return body


def _check_origin(environ: Mapping[str, Any]) -> None:
    if not re.search("https?://", str(environ.get("HTTP_ORIGIN", ""))):
        raise ServingError(
            "FAILED_PRECONDITION", "Origin header is missing in CORS preflight"
        )


def _short(value: float) -> float:
    """Returns a float32 as the shortest number that is read as the same one."""
    return float(json_tensors.numbers(np.array(value, np.float32)))
