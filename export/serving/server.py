"""A server that speaks TensorFlow Serving's protocol, over gRPC and REST."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tensorflow_serving.config import model_server_config_pb2

from kpg import checks, imports
from kpg.export.serving import configuration
from kpg.export.serving.access import AccessLog, Token
from kpg.export.serving.catalog import Catalog
from kpg.export.serving.endpoint import Endpoint, address, taken
from kpg.export.serving.loader import Loader
from kpg.export.serving.metrics import Metrics
from kpg.export.serving.model import Model, Retries
from kpg.export.serving.services import Services
from kpg.export.serving.settings import Settings
from kpg.export.wire.errors import ServingError
from kpg.types import Config

if TYPE_CHECKING:
    from kpg.export.serving.rest import Rest

GRACE = 30.0  # seconds for the requests under way when a server stops

_logger = logging.getLogger(__name__)


class Server:
    """Serves models until it is stopped.

    Attributes:
        settings: What it was made with.
        catalog: The models and the states of their versions.
        port: The port for gRPC, which it has chosen itself if given 0.
    """

    def __init__(
        self, directory: str | os.PathLike[str] | None = None, **settings: object
    ) -> None:
        """Takes the ports and loads the models. `start` begins to answer.

        With a `directory`, what cannot be served is an error at once. Without, with
        `model_base_path` or `model_config_file`, this waits for versions to appear and
        tries again to load them, as TensorFlow Serving does.

        Args:
            directory: The model's directory; versions are its sub-directories.
            **settings: The fields of `kpg.export.serving.settings.Settings`: the flags
                of TensorFlow Serving, and `host`, `token_file` and `access_log`.

        Raises:
            ValueError: If a setting is unknown or out of range.
            ServingError: If a port is taken, a file that a setting names is wrong, or
                there is no version to serve.
        """
        known = [field.name for field in dataclasses.fields(Settings)]
        for name in set(settings) - set(known):
            checks.refuse(name, f"is no setting. {checks.hint(name, known)}", "…")
        given: Config = settings  # each is checked by `Settings`
        self.settings = Settings(**given)
        config = self._configuration(directory)
        self.settings.say_what_is_meaningless()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        chosen = self.settings
        log, token = chosen.access_log, chosen.token_file
        self._log = AccessLog(log) if log else None
        found = Metrics()
        self._loader = Loader(chosen, found)
        self.catalog = Catalog(
            self._loader.load,
            retries=Retries(
                chosen.max_num_load_retries, chosen.load_retry_interval_micros * 1e-6
            ),
            load_threads=chosen.num_load_threads,
            labels_before_versions=chosen.allow_version_labels_for_unavailable_models,
            on_change=lambda: self._endpoint.report_health(self.catalog),
        )
        services = Services(
            self.catalog,
            found,
            access_log=self._log,
            as_content=chosen.enable_serialization_as_tensor_content,
        )
        wanted = Token(token) if token else None
        self._endpoint = Endpoint(chosen, services, wanted)
        self.host, self.port = chosen.host, self._endpoint.port
        self._rest: Rest | None = None
        try:
            if chosen.rest_api_port:
                self._rest = _rest(chosen, services, wanted)
            self._load(config, is_patient=directory is None)
        except BaseException:
            self.stop()
            raise

    @property
    def address(self) -> str:
        """The address for gRPC clients: `host:port`, or that of the socket."""
        if not self.port:
            return f"unix:{self.settings.grpc_socket_path}"
        return address(self.host, self.port)

    @property
    def rest_address(self) -> str:
        """The address for REST, empty if there is none."""
        return address(self.host, self._rest.port) if self._rest else ""

    @property
    def rest_api_port(self) -> int:
        """The port for REST, 0 if there is none."""
        return self._rest.port if self._rest else 0

    @property
    def model(self) -> Model:
        """The model, or the first of several."""
        return next(iter(self.catalog.models.values()))

    def start(self) -> Server:
        """Begins to answer and to check for changes. Returns at once."""
        self._endpoint.start()
        if self._rest is not None:
            self._rest.start()
        chosen = self.settings
        self._every(chosen.file_system_poll_wait_seconds, self.catalog.poll)
        if chosen.model_config_file:
            self._every(chosen.model_config_file_poll_wait_seconds, self._reload)
        return self

    def stop(self, grace: float = GRACE) -> None:
        """Takes no new requests, gives those under way `grace` seconds, and unloads."""
        self._stopping.set()
        stopped = self._endpoint.stop(grace)
        if self._rest is not None:
            self._rest.stop(grace)
        stopped.wait()
        for thread in self._threads:
            thread.join()
        self.catalog.close()
        self._loader.close()
        if self._log is not None:
            self._log.close()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *details: object) -> None:
        self.stop()

    def _configuration(
        self, directory: str | os.PathLike[str] | None
    ) -> model_server_config_pb2.ModelServerConfig:
        chosen = self.settings
        if chosen.model_config_file:
            return configuration.models(chosen.model_config_file)
        if directory is None and not chosen.model_base_path:
            raise ValueError(
                "A server needs a model: give a directory, model_base_path or "
                "model_config_file. Received: none of them"
            )
        path = Path(chosen.model_base_path if directory is None else directory)
        return configuration.one_model(chosen.model_name, str(path.absolute()))

    def _load(
        self, config: model_server_config_pb2.ModelServerConfig, *, is_patient: bool
    ) -> None:
        """Loads the models for the first time; with patience, until they are there."""
        try:
            self.catalog.reload(config)
            return
        except ServingError as error:
            if error.code != "UNKNOWN":  # the configuration itself
                raise
            if not is_patient:
                if isinstance(error.__cause__, ServingError):
                    raise error.__cause__ from None
                raise _nothing_in(self.model.directory) from error
            _logger.warning("%s", error)
        while not self.catalog.is_ready():
            if any(model.has_given_up() for model in self.catalog.models.values()):
                self.catalog.check()
            time.sleep(self.settings.file_system_poll_wait_seconds or 1.0)
            self.catalog.poll()

    def _reload(self) -> None:
        try:
            self.catalog.reload(configuration.models(self.settings.model_config_file))
        except ServingError as error:
            _logger.warning("%s", error)

    def _every(self, seconds: float, work: Callable[[], None]) -> None:
        """Does something again and again until the end, in a thread; 0 for never."""

        def repeat() -> None:
            while not self._stopping.wait(seconds):
                try:
                    work()
                except Exception:  # whatever happens, what is loaded goes on serving
                    _logger.exception("Checking for changes failed")

        if seconds:
            thread = threading.Thread(target=repeat, daemon=True)
            self._threads.append(thread)
            thread.start()


def serve(
    directory: str | os.PathLike[str] | None = None,
    *,
    on_ready: Callable[[Server], None] | None = None,
    **settings: object,
) -> None:
    """Serves until SIGTERM or SIGINT. Call it in the main thread.

    Arguments and errors are those of `Server`. `on_ready` is called with the server
    once it answers; by default it prints one line with the address.
    """
    server = Server(directory, **settings)
    with _stop_signals() as wait, server:
        (on_ready or announce)(server)
        wait()


def announce(server: Server) -> None:
    """Prints that a server is ready, and its address."""
    models = list(server.catalog.models.values())
    what = f"{len(models)} models"
    if len(models) == 1 and models[0].states():
        version = models[0].states()[0].version
        what = f"{models[0].name}, version {version} of {models[0].directory},"
    rest = f"; {server.rest_address} (REST)" if server.rest_address else ""
    print(f"Serving {what} at {server.address} (gRPC){rest}", flush=True)


def _rest(settings: Settings, services: Services, token: Token | None) -> Rest:
    user = "`rest_api_port`"
    imports.optional("waitress", "waitress", "serve", user)
    from kpg.export.serving.rest import Rest

    path = settings.monitoring_config_file
    try:
        return Rest(
            services,
            host=settings.host,
            port=settings.rest_api_port,
            threads=settings.rest_api_num_threads,
            timeout=settings.rest_api_timeout_in_ms * 1e-3,
            metrics_path=configuration.prometheus_path(path) if path else "",
            token=token,
            cors=settings.rest_api_enable_cors_support,
        )
    except OSError as error:
        raise taken(address(settings.host, settings.rest_api_port)) from error


def _nothing_in(directory: Path) -> ServingError:
    missing = "hold a version, a sub-directory named by an integer"
    if not directory.is_dir():
        missing = "exist"
    return ServingError(
        "NOT_FOUND",
        f"The directory to serve must {missing}; `kpg export` makes one. "
        f"Received: {directory}",
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
