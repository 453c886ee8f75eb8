"""The gRPC side of a server: ports, sockets, TLS, health and reflection."""

from __future__ import annotations

import contextlib
import logging
from concurrent import futures
from typing import Any

import grpc

from kpg.export.serving import configuration
from kpg.export.serving.access import Token, TokenInterceptor
from kpg.export.serving.catalog import Catalog
from kpg.export.serving.services import Services
from kpg.export.serving.settings import Settings
from kpg.export.serving.threads import Threads
from kpg.export.wire.errors import ServingError, invalid

PREDICTION = "tensorflow.serving.PredictionService"
MODEL = "tensorflow.serving.ModelService"
# TensorFlow Serving's own names, those that gRPC would choose, and the whole server.
_HEALTHY = ("", "PredictionService", "ModelService", PREDICTION, MODEL)

# Requests that wait for their batch: no batch has more than there are threads.
_WAITING = 64

_logger = logging.getLogger(__name__)


class Endpoint:
    """A gRPC server.

    Attributes:
        port: The port that it listens on, 0 if it has only a socket.
    """

    def __init__(
        self, settings: Settings, services: Services, token: Token | None
    ) -> None:
        """Takes the port and the socket. `start` begins to answer."""
        interceptors: list[grpc.ServerInterceptor] = []
        if token is not None:
            interceptors.append(TokenInterceptor(token))
        number = settings.grpc_max_threads
        others = Threads(number)
        computing = Threads(
            max(number, _WAITING) if settings.enable_batching else number
        )
        self._server = grpc.server(
            others,
            handlers=services.handlers(computing),
            interceptors=interceptors,
            options=_options(settings.grpc_channel_arguments),
        )
        self._health: Any = None
        self._reported: set[str] = set()
        if settings.enable_grpc_healthcheck_service:
            self._add_health_and_reflection()
        self._credentials = _credentials(settings.ssl_config_file)
        self.port = 0
        if settings.grpc_socket_path:
            self._bind(f"unix:{settings.grpc_socket_path}")
        if settings.port or not settings.grpc_socket_path:
            self.port = self._bind(address(settings.host, settings.port))

    def start(self) -> None:
        """Begins to answer. Returns at once."""
        self._server.start()

    def report_health(self, catalog: Catalog) -> None:
        """Tells probes which models can be asked."""
        if self._health is None:
            return
        ready = {name: model.is_available() for name, model in catalog.models.items()}
        gone = dict.fromkeys(self._reported - set(ready), False)
        self._reported |= set(ready)
        whole = dict.fromkeys(_HEALTHY, all(ready.values()))
        for name, is_ready in {**gone, **ready, **whole}.items():
            # SERVING or NOT_SERVING, in grpc.health.v1
            self._health.set(name, 1 if is_ready else 2)

    def stop(self, grace: float) -> Any:
        """Takes no new requests; what it returns waits for those under way."""
        if self._health is not None:
            self._health.enter_graceful_shutdown()
        return self._server.stop(grace)

    def _add_health_and_reflection(self) -> None:
        try:
            from grpc_health.v1 import health, health_pb2, health_pb2_grpc
            from grpc_reflection.v1alpha import reflection
        except ImportError:
            _logger.warning(
                "Health checks and reflection need more packages: run `pip install "
                '"kpg[serve]"`, or set enable_grpc_healthcheck_service to false'
            )
            return
        # Each watch would otherwise keep a thread of those that answer.
        self._health = health.HealthServicer(
            experimental_non_blocking=True,
            experimental_thread_pool=futures.ThreadPoolExecutor(1),
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        names = (PREDICTION, MODEL, name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    def _bind(self, where: str) -> int:
        with contextlib.suppress(RuntimeError):  # older versions of grpc return 0
            if self._credentials is None:
                bound = self._server.add_insecure_port(where)
            else:
                bound = self._server.add_secure_port(where, self._credentials)
            if bound:
                return int(bound)
        raise taken(where)


def address(host: str, port: int) -> str:
    """Returns `host:port`, with brackets around the host of IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def taken(where: str) -> ServingError:
    """Returns the error of a port or a socket that cannot be had."""
    return ServingError(
        "UNAVAILABLE",
        "The server's address must be free: stop what is running there, or choose "
        f"another port (0 picks a free one). Received: {where}, which is in use "
        "or does not exist",
    )


def _options(arguments: str) -> list[tuple[str, int | str]]:
    """Reads gRPC's arguments; the last of a name counts."""
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        # Otherwise a second server silently takes the same port, and each of them gets
        # some of the requests.
        ("grpc.so_reuseport", 0),
    ]
    for pair in filter(None, arguments.split(",")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise invalid(
                "grpc_channel_arguments must be name=value, joined by commas. "
                f"Received: {pair}"
            )
        options = [option for option in options if option[0] != name]
        is_number = value.removeprefix("-").isdecimal()
        options.append((name, int(value) if is_number else value))
    return options


def _credentials(path: str) -> grpc.ServerCredentials | None:
    if not path:
        return None
    config = configuration.tls(path)
    roots = config.custom_ca.encode() or None
    if config.client_verify and roots is None:
        raise invalid(
            "client_verify needs the custom_ca that clients' certificates are signed "
            f"with. Received: {path}"
        )
    pair = config.server_key.encode(), config.server_cert.encode()
    return grpc.ssl_server_credentials([pair], roots, config.client_verify)
