"""Keeps what XLA compiled for the next process."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib import metadata
from pathlib import Path

# Where `cache_compilations` looks for a directory; empty turns the cache off.
VARIABLE = "KPG_CACHE_DIR"
_FLAGS = "TF_XLA_FLAGS"
_DIRECTORY_FLAG = "--tf_xla_persistent_cache_directory"
# Executables of a GPU would depend on its model and its driver, too.
_DEVICES_FLAG = "--tf_xla_persistent_cache_device_types=CPU"
_LARGEST = 512 * 2**20


def cache_compilations(directory: str | os.PathLike[str] | None = None) -> Path | None:
    """Makes XLA reuse what it compiled for CPUs in earlier processes.

    A graph is found again if its models, settings and sizes are the same; seeds and
    numbers of iterations may differ. The `kpg` commands call this. In your own program,
    call it before the first graph runs: XLA reads its flags once.

    Args:
        directory: Where to keep it, in a folder for this processor and these versions.
            Defaults to the environment variable `KPG_CACHE_DIR`, or else to `kpg` in
            the user's cache directory. Beyond 512 MiB the oldest files are deleted.

    Returns:
        The folder, or `None` without a cache: `KPG_CACHE_DIR` is empty, the folder is
        not writable or its path contains a space, or `TF_XLA_FLAGS` already names one.
    """
    flags = os.environ.get(_FLAGS, "")
    chosen = os.environ.get(VARIABLE) if directory is None else os.fspath(directory)
    if chosen == "" or _DIRECTORY_FLAG in flags:
        return None
    try:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
        place = Path(chosen or os.path.join(home, "kpg")).expanduser().resolve()
        folder = place / f"xla-{_fingerprint()}"
        if len(str(folder).split()) > 1:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        _prune(place, _LARGEST)
    except (OSError, RuntimeError):  # RuntimeError: the home directory is unknown
        return None
    if not os.access(folder, os.W_OK):
        return None
    os.environ[_FLAGS] = f"{flags} {_DIRECTORY_FLAG}={folder} {_DEVICES_FLAG}".strip()
    return folder


def _fingerprint() -> str:
    """Identifies what compiled code depends on besides its graph."""
    parts = [_tensorflow(), platform.machine(), str(os.cpu_count())]
    parts += [os.environ.get("XLA_FLAGS", ""), *_processor()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _tensorflow() -> str:
    """Returns the version of TensorFlow, whose package may be tensorflow-cpu."""
    try:
        return metadata.version("tensorflow")
    except metadata.PackageNotFoundError:  # finding its name takes longer
        packages = metadata.packages_distributions().get("tensorflow", ["tensorflow"])
        return f"{packages[0]} {metadata.version(packages[0])}"


def _processor() -> list[str]:
    """Returns the lines that describe the first processor."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return [platform.processor()]
    lines = text.split("\n\n")[0].splitlines()
    return [line for line in lines if line.startswith(("model name", "flags"))]


def _prune(folder: Path, largest: int) -> None:
    """Deletes the oldest files until the rest fits into `largest` bytes."""
    files = [(path.stat(), path) for path in folder.glob("xla-*/*.pb")]
    total = 0
    for stat, path in sorted(files, key=lambda file: -file[0].st_mtime):
        total += stat.st_size
        if total > largest:
            path.unlink(missing_ok=True)
