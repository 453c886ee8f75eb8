"""A served model: the states of its versions, and those that are loaded.

Reference: sources/storage_path/file_system_storage_path_source.cc and
core/availability_preserving_policy.cc in tensorflow_serving.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from kpg.export.loading import versions, warmup
from kpg.export.loading.call import Parked
from kpg.export.loading.servable import Loaded
from kpg.export.wire.errors import ServingError, one_line

START = 10
LOADING = 20
AVAILABLE = 30
UNLOADING = 40
END = 50

# A ServableVersionPolicy of TensorFlow Serving, or None for the newest version alone.
Policy: TypeAlias = Any

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VersionState:
    """What GetModelStatus says about one version."""

    version: int
    state: int  # `START`, `LOADING`, `AVAILABLE`, `UNLOADING` or `END`
    error: ServingError | None = None  # why it is not served, if it failed


@dataclass(frozen=True)
class Retries:
    """How often a version that does not load is tried again, and after how long.

    A version whose files have changed is tried at once: it may have been half copied.
    """

    number: int = 5
    seconds: float = 60.0


DEFAULT_RETRIES = Retries()


@dataclass
class _Failure:
    fingerprint: object
    attempts: int
    next_try: float


class Model:
    """Serves versions below a directory, and follows it as it changes.

    A new version is loaded and warm before the old one answers its last request and is
    unloaded. If it does not load, the old one goes on serving.
    """

    def __init__(
        self,
        name: str,
        directory: str | os.PathLike[str],
        policy: Policy = None,
        *,
        load: Callable[[Path], Loaded] = warmup.load,
        retries: Retries = DEFAULT_RETRIES,
    ) -> None:
        """Loads nothing yet: `poll` does. `load` makes a version ready for requests."""
        self.name = name
        self.directory = Path(directory)
        self.policy = policy
        self._load_version, self._retries = load, retries
        self._polling, self._is_closed = threading.Lock(), False
        self._changed = threading.Condition()
        self._loaded: dict[int, Loaded] = {}
        self._retired: dict[int, Loaded] = {}  # those that still answer a request
        self._leases: dict[int, int] = {}
        self._states: dict[int, VersionState] = {}
        self._failed: dict[int, _Failure] = {}

    def poll(self) -> None:
        """Looks at the directory once, and loads and unloads accordingly.

        If a version does not load, the `ServingError` of the newest such is raised,
        once for each time that it was tried.
        """
        with self._polling:
            if self._is_closed:
                return
            aspired = choose(versions.published(self.directory), self.policy)
            for version in set(self._failed) - set(aspired):
                del self._failed[version]
            errors = []
            self._retire_superfluous(aspired)
            due = [one for one in sorted(aspired, reverse=True) if self._is_due(one)]
            for version in due:
                self._set(VersionState(version, START))
            for version in due:
                try:
                    self._load(version, aspired[version])
                except ServingError as error:
                    errors.append(error)
                self._retire_superfluous(aspired)
        if errors:
            raise errors[0]

    def states(self) -> list[VersionState]:
        """Returns every version that has been seen, newest first."""
        with self._changed:
            return [self._states[v] for v in sorted(self._states, reverse=True)]

    def is_available(self, version: int | None = None) -> bool:
        """Whether a version, by default any, can be asked now."""
        with self._changed:
            return bool(self._loaded) if version is None else version in self._loaded

    def has_given_up(self) -> bool:
        """Whether every version that should be loaded has failed for the last time."""
        with self._changed:
            tries = [one.attempts for one in self._failed.values()]
        return bool(tries) and min(tries) > self._retries.number

    def lease(self, version: int | None) -> Lease:
        """Keeps a version, by default the newest, loaded while a request uses it."""
        with self._changed:
            number = max(self._loaded, default=None) if version is None else version
            servable = None if number is None else self._loaded.get(number)
            if number is None or servable is None:
                raise not_found(self.name, version)
            self._leases[number] += 1
        return Lease(self, number, servable)

    def give_back(self, version: int) -> None:
        """Ends a lease."""
        with self._changed:
            self._leases[version] -= 1
            last = version in self._retired and not self._leases[version]
        if last:  # not in the thread of a request, which has an answer to send
            threading.Thread(target=self._close, args=(version,)).start()

    def close(self, wait: bool = True) -> None:
        """Unloads every version for good, each when its requests have been answered.

        `wait` returns only then.
        """
        with self._polling:
            self._is_closed = True
            for version in list(self._loaded):
                self._retire(version)
        with self._changed:
            self._changed.wait_for(lambda: not self._retired or not wait)

    def _is_due(self, version: int) -> bool:
        if version in self._loaded or version in self._retired:
            return False
        failure = self._failed.get(version)
        if failure is None:
            return True
        path = versions.published(self.directory).get(version)
        if path is not None and versions.fingerprint(path) != failure.fingerprint:
            failure.attempts = 0
            return True
        left = failure.attempts <= self._retries.number
        return left and time.monotonic() >= failure.next_try

    def _load(self, version: int, path: Path) -> None:
        self._set(VersionState(version, LOADING))
        # Not after loading: files that arrive in the meantime are a change.
        fingerprint = versions.fingerprint(path)
        try:
            servable = self._load_version(path)
        except Exception as error:  # whatever a graph and its warm-up can do
            if not isinstance(error, ServingError):
                error = ServingError("INTERNAL", one_line(error))
            before = self._failed.get(version)
            attempts = before.attempts + 1 if before else 1
            next_try = time.monotonic() + self._retries.seconds
            self._failed[version] = _Failure(fingerprint, attempts, next_try)
            self._set(VersionState(version, END, error))
            raise ServingError(
                error.code,
                f"Version {version} in {self.directory} cannot be served: "
                f"{error.message}",
            ) from error
        self._failed.pop(version, None)
        with self._changed:
            self._loaded[version] = servable
            self._leases[version] = 0
            self._set(VersionState(version, AVAILABLE))
        _logger.info("Serving version %d of %s", version, self.name)

    def _retire_superfluous(self, aspired: Mapping[int, Path]) -> None:
        """Unloads what is not wanted, but not the last version before a wanted one."""
        unwanted = sorted(version for version in self._loaded if version not in aspired)
        if aspired and len(unwanted) == len(self._loaded):
            unwanted = unwanted[:-1]
        for version in unwanted:
            self._retire(version)

    def _retire(self, version: int) -> None:
        """Takes a version out of service; its last request closes it."""
        with self._changed:
            self._retired[version] = self._loaded.pop(version)
            self._set(VersionState(version, UNLOADING))
            idle = not self._leases[version]
        if idle:
            self._close(version)

    def _close(self, version: int) -> None:
        self._retired[version].close()
        with self._changed:
            del self._retired[version], self._leases[version]
            self._set(VersionState(version, END))
            self._changed.notify_all()
        _logger.info("Unloaded version %d of %s", version, self.name)

    def _set(self, state: VersionState) -> None:
        with self._changed:
            self._states[state.version] = state


class Lease:
    """A version in use, until the `with` block that it belongs to ends.

    A request that is parked keeps it, and comes back with another block.
    """

    __slots__ = ("_model", "_servable", "_version")

    def __init__(self, model: Model, version: int, servable: Loaded) -> None:
        self._model, self._version, self._servable = model, version, servable

    def __enter__(self) -> tuple[int, Loaded]:
        return self._version, self._servable

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        if kind is not Parked:
            self._model.give_back(self._version)


def choose(found: Mapping[int, Path], policy: Policy) -> dict[int, Path]:
    """Returns the versions that a ServableVersionPolicy wants to be served."""
    if policy is None:
        return {version: found[version] for version in sorted(found)[-1:]}
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return dict(found)
    if kind == "specific":
        return {v: found[v] for v in policy.specific.versions if v in found}
    number = max(policy.latest.num_versions, 1) if kind == "latest" else 1
    return {version: found[version] for version in sorted(found)[-number:]}


def not_found(name: str, version: int | None) -> ServingError:
    """Returns TensorFlow Serving's error for a version that is not loaded."""
    request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return ServingError("NOT_FOUND", f"Servable not found for request: {request}")
