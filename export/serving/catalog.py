"""The served models: which there are, what their labels mean, and how they change.

Reference: model_servers/server_core.cc in tensorflow_serving.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent import futures
from pathlib import Path
from typing import TypeAlias

from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from kpg.export.loading import versions
from kpg.export.loading.servable import Loaded
from kpg.export.serving.configuration import TENSORFLOW
from kpg.export.serving.model import (
    DEFAULT_RETRIES,
    Lease,
    Model,
    Retries,
    VersionState,
    choose,
    not_found,
)
from kpg.export.wire.errors import ServingError, invalid

_Config: TypeAlias = model_server_config_pb2.ModelConfig
_logger = logging.getLogger(__name__)


class Catalog:
    """All models of a server."""

    def __init__(
        self,
        load: Callable[[Path], Loaded],
        *,
        retries: Retries = DEFAULT_RETRIES,
        load_threads: int = 1,
        labels_before_versions: bool = False,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Makes an empty catalog, which `reload` fills.

        Args:
            load: Makes a version ready for requests.
            retries: What happens with versions that do not load.
            load_threads: Models that are loaded at a time.
            labels_before_versions: Whether a new label may name a version that is not
                available.
            on_change: Called when versions may have come or gone.
        """
        self._load, self._retries = load, retries
        self._load_threads = load_threads
        self._labels_before_versions = labels_before_versions
        self._on_change = on_change
        self._reloading = threading.Lock()
        self._models: dict[str, Model] = {}
        self._gone: dict[str, Model] = {}
        self._platforms: dict[str, str] = {}
        self._labels: dict[str, dict[str, int]] = {}

    @property
    def models(self) -> dict[str, Model]:
        """The models that are configured now, by name."""
        return self._models

    def reload(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Serves the models of a configuration, and no others.

        Raises:
            ServingError: If the configuration is refused, which changes nothing; or if
                a model that is new does not become available, which goes on being
                tried.
        """
        if config.WhichOneof("config") == "custom_model_config":
            raise invalid("ModelServer does not yet support custom model config.")
        wanted = list(config.model_config_list.config)
        with self._reloading:
            platforms = _check(wanted, self._platforms)
            self._check_labels(wanted)
            models, new = {}, []
            for one in wanted:
                model = self._models.get(one.name)
                if model is None:
                    model = Model(
                        one.name, one.base_path, load=self._load, retries=self._retries
                    )
                    new.append(model)
                model.directory = Path(one.base_path)
                model.policy = one.model_version_policy
                models[one.name] = model
            gone = [name for name in self._models if name not in models]
            for name in models:
                self._gone.pop(name, None)
            self._gone.update({name: self._models[name] for name in gone})
            self._models, self._platforms = models, platforms
            for name in gone:
                self._gone[name].close(wait=False)
            errors = self._poll(list(models.values()))
            self._set_labels(wanted)
        _check_available(new, errors)

    def check(self) -> None:
        """Raises if a model cannot be asked, with what is wrong with its versions."""
        errors: dict[str, Exception] = {}
        for model in self._models.values():
            for state in model.states():
                if state.error is not None:
                    errors.setdefault(model.name, state.error)
        _check_available(self._models.values(), errors)

    def poll(self) -> None:
        """Looks for new versions of all models; logs what does not load."""
        for error in self._poll(list(self._models.values())).values():
            _logger.warning("%s", error)

    def lease(self, spec: model_pb2.ModelSpec) -> Lease:
        """Keeps the version that a request asks for loaded while it is answered."""
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        version = None
        if choice == "version":
            version = int(spec.version.value)
        elif choice == "version_label":
            labels = self._labels.get(spec.name, {})
            version = labels.get(spec.version_label)
            if version is None:
                raise invalid(
                    f"Unrecognized servable version label: {spec.version_label}"
                )
        model = self._models.get(spec.name)
        if model is None:
            raise not_found(spec.name, version)
        return model.lease(version)

    def states(self, spec: model_pb2.ModelSpec) -> list[VersionState]:
        """Returns the states of one version or all of a model, newest first."""
        model = self._models.get(spec.name) or self._gone.get(spec.name)
        found = model.states() if model is not None else []
        if spec.WhichOneof("version_choice") == "version":
            version = spec.version.value
            found = [state for state in found if state.version == version]
            missing = f"Could not find version {version} of model {spec.name}"
        else:
            missing = f"Could not find any versions of model {spec.name}"
        if not found:
            raise ServingError("NOT_FOUND", missing)
        return found

    def is_ready(self) -> bool:
        """Whether every model has a version that can be asked."""
        return all(model.is_available() for model in list(self._models.values()))

    def close(self) -> None:
        """Unloads all models, once the requests under way have been answered."""
        for model in [*self._models.values(), *self._gone.values()]:
            model.close()

    def _poll(self, models: list[Model]) -> dict[str, Exception]:
        """Polls models, returns what went wrong by the name of the model."""
        errors: dict[str, Exception] = {}

        def poll(model: Model) -> None:
            try:
                model.poll()
            except (ServingError, OSError) as error:
                errors[model.name] = error

        if self._load_threads > 1 and models:
            with futures.ThreadPoolExecutor(self._load_threads) as pool:
                list(pool.map(poll, models))
        else:
            for model in models:
                poll(model)
        self._on_change()
        return errors

    def _check_labels(self, wanted: Iterable[_Config]) -> None:
        """Refuses labels of versions that cannot become available."""
        for one in wanted:
            model = self._models.get(one.name)
            for label, version in one.version_labels.items():
                old = self._labels.get(one.name, {}).get(label)
                if self._labels_before_versions and old in (None, version):
                    continue
                if model is not None and model.is_available(version):
                    continue
                if not _is_there(one, version):
                    raise _unavailable(one.name, version)

    def _set_labels(self, wanted: Iterable[_Config]) -> None:
        """Takes over the labels, after the versions that they name have been loaded."""
        labels: dict[str, dict[str, int]] = {}
        for one in wanted:
            before = self._labels.get(one.name, {})
            for label, version in one.version_labels.items():
                may_be_early = self._labels_before_versions and (
                    before.get(label) in (None, version)
                )
                if not may_be_early and not self._models[one.name].is_available(
                    version
                ):
                    raise _unavailable(one.name, version)
                labels.setdefault(one.name, {})[label] = version
        self._labels = labels


def _check(wanted: list[_Config], before: dict[str, str]) -> dict[str, str]:
    """Refuses a list that is wrong in itself; returns the platform of each model."""
    seen: set[str] = set()
    for one in wanted:
        if one.name in seen:
            raise invalid(
                f"Illegal to list model {one.name} multiple times in config list"
            )
        seen.add(one.name)
    for one in wanted:
        if not Path(one.base_path).is_absolute():
            raise invalid(
                f"Expected model {one.name} to have an absolute path or URI; got "
                f"base_path()={one.base_path}"
            )
    platforms = {one.name: _platform(one) for one in wanted}
    for name, platform in platforms.items():
        old = before.get(name, platform)
        if old != platform:
            raise invalid(
                f"Illegal to change a model's platform. For model {name} platform was "
                f"{old} and new platform requested is {platform}"
            )
    for one in wanted:
        if platforms[one.name] != TENSORFLOW:
            raise invalid(
                f"Model {one.name} requests unsupported platform {platforms[one.name]}"
            )
        if one.HasField("logging_config"):
            raise invalid(
                "There is no collector for logs here; leave out logging_config, and "
                f"use --access_log. Received: the logging_config of {one.name}"
            )
    return platforms


def _platform(one: _Config) -> str:
    if not one.model_type:
        if not one.model_platform:
            raise invalid(
                "Illegal setting neither ModelServerConfig::model_type (deprecated) "
                f"nor ModelServerConfig::model_platform, model name is {one.name}"
            )
        return str(one.model_platform)
    if one.model_platform:
        raise invalid(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            f"ModelServerConfig::model_platform, model name is {one.name}"
        )
    if one.model_type != model_server_config_pb2.TENSORFLOW:
        raise invalid(
            f"ModelServerConfig::model_type choice {one.model_type} not supported."
        )
    return TENSORFLOW


def _is_there(one: _Config, version: int) -> bool:
    try:
        found = versions.published(one.base_path)
    except OSError:
        return False
    return version in choose(found, one.model_version_policy)


def _unavailable(name: str, version: int) -> ServingError:
    return ServingError(
        "FAILED_PRECONDITION",
        f"Request to assign label to version {version} of model {name}, which is not "
        "currently available for inference",
    )


def _check_available(models: Iterable[Model], errors: dict[str, Exception]) -> None:
    missing = []
    for model in models:
        if model.is_available():
            continue
        newest = next(iter(model.states()), None)
        version = "" if newest is None else f" Version: {newest.version}"
        error = errors.get(model.name)
        because = "" if error is None else f" due to error: {error}"
        missing.append(f"{{{{Name: {model.name}{version}}}{because}}}")
    if missing:
        raise ServingError(
            "UNKNOWN",
            f"{len(missing)} model(s) did not become available: "
            f"{{{', '.join(missing)}}}",
        ) from next(iter(errors.values()), None)
