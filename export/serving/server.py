"""A gRPC server that speaks TensorFlow Serving's protocol."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import grpc

from kpg import checks
from kpg.export.serving.model import Model
from kpg.export.serving.services import Services
from kpg.export.wire.errors import ServingError

DEFAULT_MODEL_NAME = "default"

_logger = logging.getLogger(__name__)


class Server:
    """Serves the newest version of one model until it is stopped.

    Attributes:
        model: The model and the states of its versions.
        host: The interface that it listens on.
        port: The port that it listens on, which it has chosen itself if given 0.
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
        """Takes the port and loads the newest version. `start` begins to answer.

        Names and defaults are those of TensorFlow Serving's flags, except for `host`:
        TensorFlow Serving listens on all interfaces.

        Args:
            directory: The model's directory; versions are its sub-directories.
            port: TCP port; 0 picks a free one. Defaults to 8500.
            host: Interface to listen on. Defaults to "127.0.0.1", this machine only.
            model_name: What clients call the model. Defaults to "default".
            file_system_poll_wait_seconds: Seconds between checks for a new version; 0
                checks once, at the start. Defaults to 1.
            grpc_max_threads: Requests processed at a time. Defaults to 4 per CPU core.

        Raises:
            ValueError: If a setting is out of range.
            ServingError: If the port is taken, or there is no version to serve.
        """
        if not 0 <= port <= 65535:
            checks.refuse("port", "must be in 0 … 65535; 0 picks a free one", port)
        if not model_name:
            checks.refuse("model_name", "must not be empty", model_name)
        if grpc_max_threads is None:
            grpc_max_threads = 4 * (os.cpu_count() or 1)
        threads = checks.whole_number("grpc_max_threads", grpc_max_threads)
        self.host = host
        self.model = Model(model_name, Path(directory).absolute())
        self._interval = checks.number(
            "file_system_poll_wait_seconds", file_system_poll_wait_seconds, 0.0
        )
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._poll, daemon=True)
        self._grpc = grpc.server(
            futures.ThreadPoolExecutor(threads),
            handlers=Services(self.model).handlers(),
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                # Otherwise a second server silently takes the same port, and each of
                # them gets some of the requests.
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
        """The address for clients: `host:port`."""
        return _address(self.host, self.port)

    def start(self) -> Server:
        """Begins to answer and to check for new versions. Returns at once."""
        self._grpc.start()
        if self._interval:
            self._poller.start()
        return self

    def stop(self, grace: float = 5.0) -> None:
        """Takes no new requests, gives those under way `grace` seconds, and unloads."""
        self._stopping.set()
        self._grpc.stop(grace).wait()
        if self._poller.is_alive():
            self._poller.join()
        self.model.close()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *details: object) -> None:
        self.stop()

    def _bind(self, port: int) -> int:
        address = _address(self.host, port)
        with contextlib.suppress(RuntimeError):  # older versions of grpc return 0
            if bound := int(self._grpc.add_insecure_port(address)):
                return bound
        raise ServingError(
            "UNAVAILABLE",
            "The server's address must be free: stop what is running there, or choose "
            f"another port (0 picks a free one). Received: {address}, which is in use "
            "or does not exist",
        )

    def _load(self) -> None:
        missing = "exist"
        if self.model.directory.is_dir():
            self.model.poll()
            if self.model.states():
                return
            missing = "hold a version, a sub-directory named by an integer"
        raise ServingError(
            "NOT_FOUND",
            f"The directory to serve must {missing}; `kpg export` makes one. "
            f"Received: {self.model.directory}",
        )

    def _poll(self) -> None:
        while not self._stopping.wait(self._interval):
            try:
                self.model.poll()
            except (ServingError, OSError) as error:
                _logger.warning("%s", error)
            except Exception:  # whatever happens, the loaded version goes on serving
                _logger.exception("Checking for a new version failed")


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
    """Serves a directory until SIGTERM or SIGINT. Call it in the main thread.

    Arguments and errors are those of `Server`. There is no REST interface yet, so
    `rest_api_port` must be 0. `on_ready` is called with the server once it answers; by
    default it prints one line with the address.
    """
    if rest_api_port:
        raise ValueError(
            "There is no REST interface yet; leave rest_api_port at 0 and use "
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
    """Prints that a server is ready, and its address."""
    version = server.model.states()[0].version
    print(
        f"Serving {server.model.name}, version {version} of "
        f"{server.model.directory}, at {server.address} (gRPC)",
        flush=True,
    )


@contextlib.contextmanager
def _stop_signals() -> Iterator[Callable[[], None]]:
    """Yields a function that waits for SIGTERM or SIGINT, by bytes that they write.

    An Event will not do: a handler that sets it while the waiting thread holds its
    lock never returns. Nor does a lock wake up if another thread gets the signal.
    """
    signals = (signal.SIGTERM, signal.SIGINT)
    received, sent = socket.socketpair()
    with received, sent:
        sent.setblocking(False)

        def wait() -> None:
            while received.recv(1)[0] not in signals:
                pass

        woken = signal.set_wakeup_fd(sent.fileno())
        # Their numbers have been written by the time that a handler runs.
        handlers = {one: signal.signal(one, lambda *_: None) for one in signals}
        try:
            yield wait
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(woken)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
