"""What a command returns to the command line."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import NamedTuple

from kpg.types import Config

# The exit code after Ctrl-C.
INTERRUPTED = 128 + signal.SIGINT


class CommandResult(NamedTuple):
    """What `--json` prints, the text printed otherwise, if any, and the exit code."""

    values: Config
    text: str
    exit_code: int = 0


class UsageError(ValueError):
    """The command line itself is wrong, whatever is on the disk."""


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Turns a `ValueError` inside into a `UsageError`."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error
