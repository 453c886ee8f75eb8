"""One request on its way through a model: how long it may take, and has taken."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import Any

from kpg.export.wire.errors import ServingError


class Call:
    """A request's deadline, and what is noted about it on the way.

    Attributes:
        runtime: Seconds that TensorFlow has computed for it.
        signature_name: The signature that answered, once it is known.
        may_wait: Whether its thread may wait, and work for long; `Later` says if it
            would have to.
        resume: What is called when a request that was `Parked` can go on, None if it
            must not be parked.
        lease: The version that a parked request keeps loaded.
        task: What a parked request waits for, done once it is resumed.
    """

    __slots__ = (
        "_deadline",
        "lease",
        "may_wait",
        "resume",
        "runtime",
        "signature_name",
        "task",
    )

    def __init__(self, timeout: float | None = None, *, may_wait: bool = True) -> None:
        """Begins now; `timeout` is in seconds, None for no limit."""
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self.may_wait = may_wait
        self.runtime = 0.0
        self.signature_name = ""
        self.resume: Callable[[], None] | None = None
        self.lease: Any = None
        self.task: Any = None

    def remaining(self) -> float | None:
        """Returns the seconds left, None for any number; raises if there are none."""
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0.0:
            raise expired()
        return left


class Later(Exception):
    """A request would have to wait in a thread that must not; nothing has happened."""


class Parked(Exception):
    """A request waits for its batch without a thread; `Call.resume` will be called.

    It is then begun again, with the same call, and finds its outputs there.
    """


class Turns:
    """Lets only so many computations run at a time.

    More threads than cores make every computation slower and no answer earlier, so
    that under load all of them miss their deadlines.
    """

    def __init__(self, number: int) -> None:
        # A tenth of the time of a semaphore, which is written in Python.
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(number):
            self._free.put(None)

    def take(self, call: Call, expected: float) -> None:
        """Waits for a turn, which `give_back` ends.

        Raises if the deadline passes, or would pass before the computation has run for
        the `expected` seconds. Who need not wait is never refused: the expectation may
        be wrong, and only a computation corrects it. Who must not is told `Later`.
        """
        try:
            self._free.get_nowait()
            return
        except queue.Empty:
            if not call.may_wait:
                raise Later from None
        try:
            self._free.get(timeout=call.remaining())
        except queue.Empty:
            raise expired() from None
        try:
            left = call.remaining()
            if left is not None and left < expected:
                raise expired()
        except BaseException:
            self.give_back()
            raise

    def give_back(self) -> None:
        """Ends a turn."""
        self._free.put(None)


def expired() -> ServingError:
    """Returns the error of a request whose deadline has passed."""
    return ServingError("DEADLINE_EXCEEDED", "Timed out waiting for notification")
