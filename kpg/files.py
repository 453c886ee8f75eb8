"""Files that are whole or not there at all, whenever and wherever a writer dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO


def write_aside(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file aside, flushes it to the disk and gives it its name.

    What was there before stays until then, and whatever goes wrong. What writers of the
    same file left behind when they died is removed: a file that is being written is
    locked, and a lock dies with its process. `write` must write into the file that it
    is given, by its path, and not put another one there. An `OSError` says the path.
    """
    with telling(path):
        sweep(path.parent, re.escape(path.name))
        aside, held = _aside(path)
        try:
            with held:
                write(aside)
                os.fsync(held.fileno())
                os.replace(aside, path)
            flush(path.parent)
        finally:
            aside.unlink(missing_ok=True)


def _aside(path: Path) -> tuple[Path, BinaryIO]:
    """Makes a file beside another one, which nobody sweeps while it is open."""
    while True:
        # A random name: in containers with shared disks, numbers of processes coincide.
        aside = path.with_name(f".{uuid.uuid4().hex}-{path.name}")
        held = aside.open("xb")
        if lock(held.fileno()) is not False and aside.exists():
            return aside, held
        held.close()  # swept before it was locked


def sweep(directory: Path, names: str = ".*") -> None:
    """Removes what dead writers of files left, whose `names` match an expression.

    Earlier versions began with the number of a process.
    """
    aside = re.compile(rf"\.([0-9a-f]{{32}}|\d+)-({names})")
    for name in filter(aside.fullmatch, os.listdir(directory)):
        left = directory / name
        with contextlib.suppress(OSError), left.open("ab") as file:
            if lock(file.fileno()):
                left.unlink()


@contextlib.contextmanager
def telling(path: Path) -> Iterator[None]:
    """Lets an `OSError` inside say which file could not be written."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        text = (
            f"{path} could not be written: {why}. All that was written before is as it "
            "was; make room, or choose another place, and go on from there"
        )
        raise OSError(*([error.errno] if error.errno else []), text) from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock that dies with the process; a `ValueError` if somebody has it."""
    with telling(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        if lock(file.fileno()) is False:
            raise ValueError(
                "Only one training at a time may write to a directory, and another one "
                "is running: wait for it, end it, or choose another directory. "
                f"Received: {path.parent}"
            )
        yield


def lock(descriptor: int) -> bool | None:
    """Takes the lock of an open file or directory; `False` if somebody else has it.

    `None` where the file system has no locks, and so cannot tell who is alive.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def flush(path: Path) -> None:
    """Waits until a file, or the names in a directory, have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
