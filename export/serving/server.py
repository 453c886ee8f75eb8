"""A gRPC server that speaks TensorFlow Serving's protocol."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc

from kpg.export.serving.model import Model
from kpg.export.serving.services import Services
from kpg.export.wire.errors import ServingError

DEFAULT_MODEL_NAME = "default"

_logger = logging.getLogger(__name__)


class Server:
    """Serves the newest version of one model until it is stopped.

    Example:
        with Server("servables/mountain_car", port=0) as server:
            client = kpg.export.Client(server.address)

    Attributes:
        model: The model and the states of its versions.
        host: The interface that it listens on.
        port: The port that it listens on; the chosen one where 0 was asked for.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        port: int = 8500,
        host: str = "127.0.0.1",
        model_name: str = DEFAULT_MODEL_NAME,
        file_system_poll_wait_seconds: float = 1.0,
        grpc_max_threads: int | None = None,
    ) -> None:
        """Takes the port and loads the newest version; `start` begins to answer.

        The names and the defaults are those of TensorFlow Serving's flags, but for
        `host`: TensorFlow Serving listens on all interfaces.

        Args:
            directory: The model's directory; versions are its sub-directories.
            port: TCP port; 0 picks a free one. Defaults to 8500.
            host: Interface to listen on. Defaults to "127.0.0.1", this machine only.
            model_name: What clients call the model. Defaults to "default".
            file_system_poll_wait_seconds: Seconds between two looks for a new version;
                0 looks once, at the start. Defaults to 1.
            grpc_max_threads: Requests that are worked on at a time. Defaults to four
                for each CPU core.

        Raises:
            ValueError: If a setting is out of range.
            ServingError: If the port is taken, or the directory holds no version, or
                its newest version cannot be served.
        """
        threads = grpc_max_threads
        if threads is None:
            threads = 4 * (os.cpu_count() or 1)
        _check_settings(port, model_name, file_system_poll_wait_seconds, threads)
        self.host = host
        self.model = Model(model_name, Path(directory).absolute())
        self._interval = file_system_poll_wait_seconds
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._poll, daemon=True)
        self._grpc = grpc.server(
            futures.ThreadPoolExecutor(threads),
            handlers=Services(self.model).handlers(),
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                # Otherwise a second server takes the same port without a word, and
                # each gets a part of the requests.
                ("grpc.so_reuseport", 0),
            ],
        )
        self.port = self._bind(port)
        try:
            self._load()
        except BaseException:
            self.stop()
            raise

    @property
    def address(self) -> str:
        """What a client connects to: `host:port`."""
        return _address(self.host, self.port)

    def start(self) -> Server:
        """Begins to answer and to look for new versions; returns at once."""
        self._grpc.start()
        if self._interval:
            self._poller.start()
        return self

    def stop(self, grace: float = 5.0) -> None:
        """Stops: no new requests, then the end of those under way, then the models.

        Args:
            grace: Seconds that requests under way are given. Defaults to 5.
        """
        self._stopping.set()
        self._grpc.stop(grace).wait()
        if self._poller.is_alive():
            self._poller.join()
        self.model.close()

    def __enter__(self) -> Server:
        """See `start`."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """See `stop`."""
        self.stop()

    def _bind(self, port: int) -> int:
        try:
            bound = int(self._grpc.add_insecure_port(_address(self.host, port)))
        except RuntimeError:  # older versions of grpc return 0 instead
            bound = 0
        if bound == 0:
            raise ServingError(
                "UNAVAILABLE",
                "The server must be able to take its address: stop what runs there, or "
                "choose another port (0 picks a free one). Received: "
                f"{_address(self.host, port)}, which is in use or does not exist",
            )
        return bound

    def _load(self) -> None:
        directory = self.model.directory
        if not directory.is_dir():
            raise ServingError(
                "NOT_FOUND",
                "The directory to serve must exist; `kpg export` makes one. "
                f"Received: {directory}",
            )
        self.model.poll()
        if not self.model.states():
            raise ServingError(
                "NOT_FOUND",
                "The directory to serve must hold a version, a sub-directory named by "
                f"an integer; `kpg export` makes one. Received: {directory}",
            )

    def _poll(self) -> None:
        while not self._stopping.wait(self._interval):
            try:
                self.model.poll()
            except (ServingError, OSError) as error:
                _logger.warning("%s", error)
            except Exception:  # whatever happens, what is loaded goes on serving
                _logger.exception("Looking for a new version failed")


def serve(
    directory: str | os.PathLike[str],
    *,
    port: int = 8500,
    rest_api_port: int = 0,
    host: str = "127.0.0.1",
    model_name: str = DEFAULT_MODEL_NAME,
    file_system_poll_wait_seconds: float = 1.0,
    grpc_max_threads: int | None = None,
    on_ready: Callable[[Server], None] | None = None,
) -> None:
    """Serves a directory until SIGTERM or SIGINT; to be called in the main thread.

    Args:
        directory: See `Server`.
        port: See `Server`.
        rest_api_port: Must be 0: there is no REST interface yet.
        host: See `Server`.
        model_name: See `Server`.
        file_system_poll_wait_seconds: See `Server`.
        grpc_max_threads: See `Server`.
        on_ready: Called with the server once it answers. Defaults to printing one line
            with the address to standard output.

    Raises:
        ValueError: See `Server`; or if `rest_api_port` is given.
        ServingError: See `Server`.
    """
    if rest_api_port:
        raise ValueError(
            "The REST interface is not there yet; leave rest_api_port at 0 and use "
            f"gRPC. Received: rest_api_port={rest_api_port}"
        )
    server = Server(
        directory,
        port=port,
        host=host,
        model_name=model_name,
        file_system_poll_wait_seconds=file_system_poll_wait_seconds,
        grpc_max_threads=grpc_max_threads,
    )
    with _stop_signals() as wait, server:
        (on_ready or announce)(server)
        wait()


def announce(server: Server) -> None:
    """Prints the line that says that a server answers."""
    version = server.model.states()[0].version
    print(
        f"Serving {server.model.name}, version {version} of "
        f"{server.model.directory}, at {server.address} (gRPC)",
        flush=True,
    )


@contextmanager
def _stop_signals() -> Iterator[Callable[[], None]]:
    """Yields a call that waits for SIGTERM or SIGINT; restores their handlers.

    It waits for bytes that the signals write. An Event would not do: its lock is held
    for a moment by whoever waits, and a handler that sets it just then never returns;
    nor does a lock wake up where the system gave the signal to another thread.
    """
    signals = (signal.SIGTERM, signal.SIGINT)
    received, sent = socket.socketpair()
    with received, sent:
        sent.setblocking(False)

        def wait() -> None:
            while received.recv(1)[0] not in signals:
                pass

        woken = signal.set_wakeup_fd(sent.fileno())
        handlers = {number: signal.signal(number, _ignore) for number in signals}
        try:
            yield wait
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(woken)


def _ignore(number: int, frame: Any) -> None:
    """Handles a signal whose number was written where somebody waits for it."""


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check_settings(
    port: int, model_name: str, poll_wait_seconds: float, threads: int
) -> None:
    if not 0 <= port <= 65535:
        raise ValueError(
            "port must be between 0 and 65535; 0 picks a free one. "
            f"Received: port={port}"
        )
    if not model_name:
        raise ValueError(
            "model_name must not be empty; leave it away for "
            f"{DEFAULT_MODEL_NAME!r}. Received: model_name={model_name!r}"
        )
    if poll_wait_seconds < 0:
        raise ValueError(
            "file_system_poll_wait_seconds must be at least 0; 0 looks once. "
            f"Received: file_system_poll_wait_seconds={poll_wait_seconds}"
        )
    if threads < 1:
        raise ValueError(
            f"grpc_max_threads must be at least 1. Received: grpc_max_threads={threads}"
        )
