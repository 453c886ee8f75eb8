"""Directories of versions that appear whole or not at all, and vanish the same way."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

import tensorflow as tf

from kpg import checks, files
from kpg.export.loading import versions
from kpg.export.wire.errors import one_line

# Servers take a directory for a version only if its name is an integer.
_HIDDEN = re.compile(r"\.tmp-\d+-[0-9a-f]+")


def base_of(directory: str | os.PathLike[str]) -> Path:
    """Returns the absolute directory of a model's versions, and makes it if need be."""
    base = Path(directory).absolute()
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            "It must be possible to make the model's directory and write to it. "
            f"Received: {directory} ({error.strerror})"
        ) from error
    return base


def check_free(base: Path, version: int | None) -> None:
    """Refuses a version that exists. `None` is free."""
    # rename() silently replaces an empty directory.
    if version is not None and version in versions.published(base):
        raise ValueError(
            "A version that servers may have loaded is never overwritten; leave "
            f"version out to take the next free one. Received: version={version}, "
            f"which exists in {base}"
        )


@contextlib.contextmanager
def staging(base: Path) -> Iterator[Path]:
    """Makes a directory that servers do not see, and leaves nothing of it behind.

    What earlier writers left because they were killed is removed first.

    Raises:
        ValueError: If the file system is full, or refuses what is written.
    """
    try:
        sweep(base)
        with _hidden(base) as stage:
            yield stage
    except (OSError, tf.errors.OpError) as error:
        raise ValueError(
            "The version must fit on the disk, which must not refuse to write it; free "
            "some space and export again. Nothing was published, and the versions that "
            f"were there are unchanged. Received: {base} ({one_line(error)})"
        ) from error


def publish(stage: Path, base: Path, version: int) -> Path:
    """Makes the staged version durable, then visible; returns its path."""
    for folder, _, names in os.walk(stage):
        for name in names:
            files.flush(Path(folder, name))
        files.flush(Path(folder))
    path = base / str(version)
    check_free(base, version)
    try:
        os.rename(stage, path)
    except OSError as error:
        raise ValueError(
            "The version must not appear during the export; export again. "
            f"Received: {path} ({error.strerror})"
        ) from error
    files.flush(base)
    return path


def prune(
    directory: str | os.PathLike[str], keep: int, spared: Collection[int] = ()
) -> list[int]:
    """Removes old versions from a model's directory.

    A version vanishes as it appeared, in one step: no server sees half of it.

    Args:
        directory: The model's directory.
        keep: How many of the newest versions stay, ≥ 1.
        spared: Other versions that stay, such as those with a label. Defaults to none.

    Returns:
        The versions that were removed, newest first.

    Raises:
        ValueError: If `keep` is below 1.
    """
    keep = checks.whole_number("keep", keep)
    base = Path(directory).absolute()
    found = versions.published(base)
    doomed = [one for one in sorted(found, reverse=True)[keep:] if one not in spared]
    for version in doomed:
        with _hidden(base) as grave:
            os.rename(found[version], grave / str(version))
    return doomed


def sweep(base: Path) -> None:
    """Removes the hidden directories of writers that are dead.

    A writer holds a lock on its directory as long as it lives; the system releases it
    however it ends. A process number would not tell: it is given again, and another
    container has its own.
    """
    for path in base.iterdir():
        if _HIDDEN.fullmatch(path.name):
            with contextlib.suppress(OSError):  # alive, gone, or somebody else's
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    if files.lock(descriptor):
                        shutil.rmtree(path, ignore_errors=True)
                finally:
                    os.close(descriptor)


@contextlib.contextmanager
def _hidden(base: Path) -> Iterator[Path]:
    """Makes a directory that no other process sweeps, and removes it at the end."""
    path, descriptor = _make(base)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _make(base: Path) -> tuple[Path, int]:
    """Makes a hidden directory, locked while its descriptor is open."""
    while True:
        # Not tempfile.mkdtemp: its directories can be read by their owner only, and a
        # server often runs as somebody else.
        path = base / f".tmp-{os.getpid()}-{uuid.uuid4().hex}"
        path.mkdir()
        with contextlib.suppress(FileNotFoundError):  # swept before it was locked
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            if files.lock(descriptor) is not False and path.exists():
                return path, descriptor
            os.close(descriptor)
