"""What the workers of a `tf.distribute` strategy do, they do alike.

A collective that one worker does not join lets the others wait for ever. So whatever a
worker may decide by itself (its pace, to stop, an error) is told in a meeting first.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context

from kpg.trainers.learning.replicas import workers_of
from kpg.types import Array, Tensor

DEADLINE = 60.0  # seconds
# Numbers that a worker may tell in a meeting, letters of what failed, and the seconds
# that TensorFlow has to give up a collective before the process ends.
_NUMBERS, _LETTERS, _GRACE = 6, 1000, 5.0

_T = TypeVar("_T")


class Agreement:
    """Lets all workers know what one of them knows; with one worker it does nothing.

    `deadline` are the seconds that one waits for the others, `None` for ever. What
    compiles is not watched, nor is the chief while it validates: TensorFlow itself
    notices in about ten seconds if a process ended, was stopped or lost its network.

    TensorFlow lets a worker survive SIGTERM. This gives the signal back to Python.
    """

    def __init__(
        self, strategy: tf.distribute.Strategy, deadline: float | None = DEADLINE
    ) -> None:
        self.worker, self.workers = workers_of(strategy)
        self.deadline = deadline
        self._seconds: float | None = None
        if self.workers > 1:
            take_signal_back()

        replicas = strategy.num_replicas_in_sync // self.workers

        def once(numbers: Tensor) -> Tensor:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            return tf.where(replica % replicas == 0, numbers, tf.zeros_like(numbers))

        def summed(numbers: Tensor) -> Tensor:
            return strategy.reduce("SUM", strategy.run(once, (numbers,)), axis=None)

        spec = tf.TensorSpec([None], tf.float64)
        self._summed = tf.function(summed, [spec], autograph=False)

    @property
    def is_chief(self) -> bool:
        """Whether this worker is the one that writes and validates."""
        return self.worker == 0

    @contextlib.contextmanager
    def meeting(self, patient: bool = False) -> Iterator[list[float]]:
        """Raises on every worker what one of them raises inside.

        The numbers that a worker puts in the list are the sums of all workers' after
        it. A `patient` meeting has no deadline.
        """
        said: list[float] = []
        if self.workers == 1:
            yield said
            return
        error: BaseException | None = None
        try:
            yield said
        except BaseException as raised:  # that of a signal, too
            error, said = raised, []
        told = np.zeros(self.workers + _NUMBERS)
        told[self.worker] = error is not None
        told[self.workers : self.workers + len(said)] = said
        total = self._total(told, None if patient else self.deadline)
        failed = np.flatnonzero(total[: self.workers])
        if len(failed):
            words = self._from(failed[0], f"{type(error).__name__}: {error}")
            if error is not None:
                raise error
            raise RuntimeError(
                f"Worker {failed[0]} failed, so no worker goes on. Start all of them "
                f"again once that is put right. Received: {words}"
            )
        said[:] = total[self.workers : self.workers + len(said)].tolist()

    def of_chief(self, make: Callable[[], _T]) -> _T:
        """Returns what the chief alone makes, which JSON can hold, on every worker."""
        if self.workers == 1:
            return make()
        text = ""
        with self.meeting(patient=True) as said:
            if self.is_chief:
                text = json.dumps(make(), default=float)
            said.append(float(len(text)))
        made: _T = json.loads(self._from(0, text, int(said[0])))
        return made

    @contextlib.contextmanager
    def learning(self, iterations: int) -> Iterator[None]:
        """Watches a call of iterations, after the first one, which compiles.

        It may take the deadline longer than twice as long as the last one did.
        """
        if self.workers == 1:
            yield
            return
        limit, started = None, time.perf_counter()
        if self.deadline is not None and self._seconds is not None:
            limit = self.deadline + 2.0 * self._seconds * iterations
        with watched(limit):
            yield
        self._seconds = (time.perf_counter() - started) / iterations

    def _from(self, worker: int, text: str, length: int = _LETTERS) -> str:
        """Returns on every worker the text of one of them, of ASCII if it is long."""
        own = np.zeros(length)
        if worker == self.worker:
            letters = [ord(letter) for letter in text[:length]]
            own[: len(letters)] = letters
        total = self._total(own, self.deadline)
        return "".join(chr(int(letter)) for letter in total if letter)

    def _total(self, own: Array, seconds: float | None) -> Array:
        with watched(seconds):
            total: Array = self._summed(tf.constant(own, tf.float64)).numpy()
            return total


@contextlib.contextmanager
def watched(seconds: float | None) -> Iterator[None]:
    """Ends what waits for other workers: in `seconds`, `None` is never, or as they end.

    Raises:
        RuntimeError: If another worker is too late, or gone. Where TensorFlow cannot
            give up waiting, the message is printed and the process ends with code 1.
    """
    late = _late(seconds)
    done, expired = threading.Event(), threading.Event()

    def watch() -> None:
        if done.wait(seconds):
            return
        expired.set()
        context.context().abort_collective_ops(tf.errors.ABORTED, "deadline")
        if not done.wait(_GRACE):
            os.write(2, f"kpg: {late}\n".encode())
            os._exit(1)

    if seconds is not None:
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except tf.errors.OpError as error:
        if expired.is_set():
            raise RuntimeError(late) from error
        if "Collective ops is aborted" not in str(error):
            raise
        number = re.search(r"task:(\d+)", str(error))
        said = re.search(r"aborted by: (.*)", str(error))
        raise RuntimeError(
            f"{f'Worker {number[1]}' if number else 'Another worker'} ended, was "
            "stopped or cannot be reached, so this one ends too. Its own output says "
            f"why; start all of them again. Received: {said and said[1]}"
        ) from error
    finally:
        done.set()


@contextlib.contextmanager
def ending(seconds: float | None) -> Iterator[None]:
    """Ends the process with code 1 and the same words, if what is inside takes longer.

    For what lets no thread of Python run, as TensorFlow does while workers connect.
    """
    if seconds is None:
        yield
        return
    # What dumps tracebacks runs all the same. Whoever reads them turns them into words.
    words = f"kpg: {_late(seconds)}\n"
    code = f"import sys; sys.stdin.buffer.read() and sys.stderr.write({words!r})"
    command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as reader:
        sink = reader.stdin or sys.stderr
        faulthandler.dump_traceback_later(seconds, exit=True, file=sink)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def _late(seconds: float | None) -> str:
    return (
        f"The other workers did not come within {seconds} seconds. One of them never "
        "began, is stuck, or needs longer: look at its output, and say "
        "`compile(worker_deadline=…)` or `kpg train --worker-deadline …` if it only "
        "needs longer. Received: no answer"
    )


def take_signal_back() -> None:
    """Gives SIGTERM its meaning in Python, of which TensorFlow's makes nothing."""
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
        signal.signal(signal.SIGTERM, handler)
