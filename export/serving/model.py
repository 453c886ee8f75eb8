"""A served model: the states of its versions, and the newest one loaded.

Reference: sources/storage_path/file_system_storage_path_source.cc and
core/availability_preserving_policy.cc in tensorflow_serving.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kpg.export.loading import versions, warmup
from kpg.export.loading.servable import Servable
from kpg.export.wire.errors import ServingError

LOADING = 20
AVAILABLE = 30
UNLOADING = 40
END = 50

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VersionState:
    """What GetModelStatus says about one version."""

    version: int
    state: int  # one of `LOADING`, `AVAILABLE`, `UNLOADING` and `END`
    error: ServingError | None = None  # why it is not served, if it failed


class Model:
    """Serves the newest version below a directory, and follows it as it changes.

    A new version is loaded and warm before the old one answers its last request and is
    unloaded. If it does not load, the old one goes on serving.
    """

    def __init__(self, name: str, directory: str | os.PathLike[str]) -> None:
        self.name = name
        self.directory = Path(directory)
        self._changed = threading.Condition()
        self._loaded: dict[int, Servable] = {}
        self._leases: dict[int, int] = {}
        self._states: dict[int, VersionState] = {}
        self._failed: dict[int, object] = {}

    def poll(self) -> None:
        """Looks at the directory once, and loads and unloads accordingly.

        If the newest version does not load, the `ServingError` is raised once, and then
        again when its files change: they may still have been copied.
        """
        found = versions.published(self.directory)
        newest = max(found, default=None)
        if newest is not None and newest not in self._loaded:
            fingerprint = versions.fingerprint(found[newest])
            if self._failed.get(newest) == fingerprint:
                return
            # Not after loading: files that arrive in the meantime are a change.
            self._failed[newest] = fingerprint
            self._load(newest, found[newest])
            del self._failed[newest]
        for version in [v for v in self._loaded if v != newest]:
            self._unload(version)

    def states(self) -> list[VersionState]:
        """Returns every version that has been seen, newest first."""
        with self._changed:
            return [self._states[v] for v in sorted(self._states, reverse=True)]

    @contextlib.contextmanager
    def lease(self, version: int | None) -> Iterator[tuple[int, Servable]]:
        """Keeps a version, by default the newest, loaded while a request uses it."""
        with self._changed:
            number = max(self._loaded, default=None) if version is None else version
            servable = None if number is None else self._loaded.get(number)
            if number is None or servable is None:
                raise not_found(self.name, version)
            self._leases[number] += 1
        try:
            yield number, servable
        finally:
            with self._changed:
                self._leases[number] -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Unloads every version, once the requests under way have been answered."""
        for version in list(self._loaded):
            self._unload(version)

    def _load(self, version: int, path: Path) -> None:
        self._set(VersionState(version, LOADING))
        try:
            servable = warmup.load(path)
        except ServingError as error:
            self._set(VersionState(version, END, error))
            raise ServingError(
                error.code,
                f"Version {version} in {self.directory} cannot be served: "
                f"{error.message}",
            ) from error
        with self._changed:
            self._loaded[version] = servable
            self._leases[version] = 0
            self._set(VersionState(version, AVAILABLE))
        _logger.info("Serving version %d of %s", version, self.name)

    def _unload(self, version: int) -> None:
        with self._changed:
            servable = self._loaded.pop(version)
            self._set(VersionState(version, UNLOADING))
            self._changed.wait_for(lambda: self._leases[version] == 0)
            del self._leases[version]
        servable.close()
        self._set(VersionState(version, END))
        _logger.info("Unloaded version %d of %s", version, self.name)

    def _set(self, state: VersionState) -> None:
        with self._changed:
            self._states[state.version] = state


def not_found(name: str, version: int | None) -> ServingError:
    """Returns TensorFlow Serving's error for a version that is not loaded."""
    request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return ServingError("NOT_FOUND", f"Servable not found for request: {request}")
