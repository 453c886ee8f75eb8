"""The versions that TensorFlow Serving sees in a model's directory."""

from __future__ import annotations

import os
from pathlib import Path

_LARGEST = 2**63 - 1


def parse(name: str) -> int | None:
    """Reads a version as TensorFlow Serving does: "0012" is 12, and ".tmp-1" is none.

    A version is a 64-bit integer of digits only.
    """
    if not (name.isascii() and name.isdigit()):
        return None
    version = int(name)
    return version if version <= _LARGEST else None


def published(directory: str | os.PathLike[str]) -> dict[int, Path]:
    """Returns the path of each version in a model's directory.

    If two names stand for one number ("1" and "01"), the lexically last wins.
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
    """Returns name, bytes and nanoseconds of each file; empty if all are gone."""
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
