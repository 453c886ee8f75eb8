"""What every client is told when it is made, and how it opens its channel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import ModuleType
from typing import Any

from kpg.export.client import channel
from kpg.export.client.dialogue import Dialogues, Request
from kpg.export.wire import tensors
from kpg.types import Space


class Connection(ABC):
    """A connection to a server that has a model."""

    def __init__(
        self,
        target: str = "127.0.0.1:8500",
        *,
        model_name: str = "default",
        timeout: float = 10.0,
        retries: int = 2,
        action_space: Space | None = None,
        batch_size: int | None = None,
        token: str | None = None,
        tls: channel.TLS | None = None,
    ) -> None:
        """Prepares a connection. Nothing is sent before the first call.

        Args:
            target: `host:port` of the server, or `unix:/path` of its socket. Defaults
                to "127.0.0.1:8500".
            model_name: What the server calls the model. Defaults to "default", as for
                `kpg serve` and TensorFlow Serving.
            timeout: Seconds that a call may take, with all its tries, > 0. Defaults to
                10.
            retries: Further tries within that time, ≥ 0, of a request that the server
                did not take: it was unavailable, or broke off. Defaults to 2.
            action_space: The environment's `Dict` or `Tuple` space, which actions then
                follow. Defaults to None: such actions are a dictionary by path.
            batch_size: Rows of a request at most, ≥ 1; more are cut into several, which
                are sent together. Defaults to None: no limit.
            token: What a server wants that was started with a token. Without `tls`
                anybody in between can read it. Defaults to none.
            tls: `kpg.export.TLS(...)` for an encrypted connection. Defaults to none.

        Raises:
            ValueError: If a setting is out of range, or a certificate cannot be read.
        """
        self.target = target
        self.model_name = model_name
        self._route = channel.Route(target, timeout, retries, token, tls)
        self._dialogues = Dialogues(self._route, model_name, action_space, batch_size)
        self._methods: dict[str, Any] = {}  # of gRPC, which has no types
        self._open()

    @abstractmethod
    def _open(self) -> None:
        """Gets ready to call `_method`."""

    def _dial(self, package: ModuleType) -> Any:
        """Makes a channel of the package `grpc` or `grpc.aio`."""
        target, options, tls = self.target, self._route.options, self._route.tls
        if tls is None:
            return package.insecure_channel(target, options=options)
        return package.secure_channel(target, tls.credentials(), options=options)

    def _method(self, made: Any, request: Request) -> Any:
        """Returns the method of a channel that carries a request."""
        method = self._methods.get(request.path)
        if method is None:
            method = self._methods[request.path] = made.unary_unary(
                request.path,
                request_serializer=tensors.serialize,
                response_deserializer=request.answer.FromString,
            )
        return method
