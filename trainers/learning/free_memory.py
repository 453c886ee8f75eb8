"""How much memory there is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """Returns the bytes that this process may still take; `None` if nobody tells.

    They are the machine's, or those of the container that the process is in. A GPU's
    are not looked at.
    """
    return min(_known(), default=None)


def gigabytes(count: int) -> str:
    """Returns a number of bytes in words."""
    return f"{count / 1e9:.1f} GB"


def _known() -> Iterator[int]:
    information = Path("/proc/meminfo")
    if information.is_file():
        rows = dict(row.split(":") for row in information.read_text().splitlines())
        yield int(rows["MemAvailable"].split()[0]) * 1024
    limit, used = _GROUP / "memory.max", _GROUP / "memory.current"
    if limit.is_file() and limit.read_text().strip().isdigit():
        yield max(0, int(limit.read_text()) - int(used.read_text()))
