"""The versions that TensorFlow Serving sees in a model's directory."""

from __future__ import annotations

import os
from pathlib import Path

_LARGEST = 2**63 - 1


def parse(name: str) -> int | None:
    """Reads a version number the way TensorFlow Serving does.

    Args:
        name: Name of a directory. Leading zeros are fine: "0012" is version 12.

    Returns:
        The version, or None if the name is not a 64-bit integer of digits only: a name
        such as ".tmp-1" is invisible to every server.
    """
    if not (name.isascii() and name.isdigit()):
        return None
    version = int(name)
    return version if version <= _LARGEST else None


def published(directory: str | os.PathLike[str]) -> dict[int, Path]:
    """Returns the path of each version in a model's directory.

    If two names stand for one number ("1" and "01"), the lexically last wins.

    Raises:
        OSError: If the directory cannot be read.
    """
    found = {}
    for path in sorted(Path(directory).iterdir()):
        version = parse(path.name)
        if version is not None and path.is_dir():
            found[version] = path
    return found


def next_free(directory: str | os.PathLike[str]) -> int:
    """Returns the number after the newest version, or 1 if there is none."""
    return max(published(directory), default=0) + 1


def fingerprint(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Returns what changes when the files of a version change.

    Args:
        path: A version's directory.

    Returns:
        `(relative name, bytes, nanoseconds)` of each file, sorted; empty if the
        directory is gone.
    """
    entries = []
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder, name)
            try:
                status = file.stat()
            except OSError:  # it has just been removed: the next look tells
                continue
            relative = str(file.relative_to(path))
            entries.append((relative, status.st_size, status.st_mtime_ns))
    return tuple(sorted(entries))
