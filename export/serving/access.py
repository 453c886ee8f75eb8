"""Who may ask, and what is written down about it. TensorFlow Serving has neither."""

from __future__ import annotations

import hmac
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

import grpc

from kpg.export.wire.errors import ServingError

UNAUTHENTICATED = ServingError(
    "UNAUTHENTICATED",
    "This server wants a token: send `authorization: Bearer <token>` with each request",
)


class Token:
    """The token that requests must bring, as `Authorization: Bearer <token>`."""

    def __init__(self, path: str) -> None:
        """Reads it from a file, so that it is not seen among the processes."""
        token = Path(path).read_text(encoding="utf-8").strip()
        if not token:
            raise ValueError(
                f"The file of a token must not be empty; write one. Received: {path}"
            )
        self._wanted = f"bearer {token}".encode()

    def allows(self, authorization: str) -> bool:
        """Whether the header is right. It takes as long if it is wrong."""
        scheme, _, token = authorization.strip().partition(" ")
        sent = f"{scheme.lower()} {token.strip()}".encode("utf-8", "replace")
        return hmac.compare_digest(sent, self._wanted)


class TokenInterceptor(grpc.ServerInterceptor):
    """Refuses gRPC requests without the token, but for those about the health."""

    def __init__(self, token: Token) -> None:
        self._token = token
        self._refusal = grpc.unary_unary_rpc_method_handler(_refuse)

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """See `grpc.ServerInterceptor`."""
        if not handler_call_details.method.startswith("/grpc.health.v1.Health/"):
            sent = dict(handler_call_details.invocation_metadata)
            header = sent.get("authorization", "")
            if not isinstance(header, str) or not self._token.allows(header):
                return self._refusal
        return continuation(handler_call_details)


class AccessLog:
    """One JSON object a line for every request that has been answered."""

    def __init__(self, path: str) -> None:
        """Appends to a file; `-` is the standard error stream."""
        self._lock = threading.Lock()
        self._file: TextIO = (
            sys.stderr if path == "-" else open(path, "a", encoding="utf-8")
        )

    def write(self, **fields: object) -> None:
        """Writes a line: the time of the answer, in seconds since 1970, and fields."""
        line = json.dumps({"time": round(time.time(), 6), **fields})
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._file is not sys.stderr:
            self._file.close()


def _refuse(request: object, context: grpc.ServicerContext) -> None:
    code = grpc.StatusCode[UNAUTHENTICATED.code]
    context.abort(code, UNAUTHENTICATED.message)
