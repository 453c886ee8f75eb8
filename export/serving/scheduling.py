"""Rows that wait to be run together, and when they are.

Reference: batching/batching_session.cc in tensorflow_serving, and
core/kernels/batching_util/shared_batch_scheduler.h in tensorflow.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from kpg.export.loading.call import Call, Later, expired
from kpg.export.loading.servable import Loaded
from kpg.export.serving.configuration import Batching
from kpg.export.wire.errors import ServingError, invalid, one_line
from kpg.types import Array

_Key: TypeAlias = tuple[object, ...]

# How long a batch waits for more rows, in times as long as batches usually run and in
# seconds at most: altogether, and for the next request. Where they run for less than
# `_QUICK`, it does not pay.
_PATIENCE, _MOST_PATIENCE = 2.0, 0.05
_PAUSE, _MOST_PAUSE = 0.5, 0.005
_QUICK = 0.001
# How fast it is forgotten that more rows have been there at a time.
_FORGOTTEN = 0.25


class Task:
    """The rows of one request, or of a part of it."""

    def __init__(self, inputs: Mapping[str, Array], rows: int, call: Call) -> None:
        self.inputs, self.rows, self.call = inputs, rows, call
        self.since = time.monotonic()
        self.done = threading.Event()
        self.is_given_up = False
        self.outputs: dict[str, Array] = {}
        self.error: ServingError | None = None

    def wait(self) -> dict[str, Array]:
        """Returns the outputs, when a batch has run, or raises what went wrong."""
        if not self.done.wait(self.call.remaining()):
            self.is_given_up = True
            raise expired()
        return self.result()

    def result(self) -> dict[str, Array]:
        """Returns the outputs of a batch that has run, or raises what went wrong."""
        if self.error is not None:
            raise self.error
        return self.outputs


class Pace:
    """How long the batches of a signature run, and how many rows there are at a time.

    Weights are read once for a batch, however small. While a larger one runs, or while
    clients come back who have just been answered, it is better to wait for more rows.
    """

    def __init__(self) -> None:
        self._seconds = 0.0  # that a batch runs, by the last ones
        self._expected = 0.0  # rows that run or wait at a time, by the last batches
        self._most = 0  # the same, since the last batch has ended
        self._event = 0.0  # when a request has come or a batch has ended

    @property
    def is_quick(self) -> bool:
        """Whether nobody should wait, by the batches so far."""
        return self._seconds < _QUICK

    def arrived(self, rows: int, now: float) -> None:
        """Learns of a request, after which so many rows run or wait."""
        self._most, self._event = max(self._most, rows), now

    def ended(self, rows: int, started: float) -> None:
        """Learns of a batch that has run until now."""
        self._event = time.monotonic()
        took = self._event - started
        self._seconds = 0.5 * (self._seconds + took) if self._seconds else took
        most = max(self._most, rows)
        kept = self._expected + _FORGOTTEN * (most - self._expected)
        self._expected, self._most = max(most, kept), 0

    def wait(self, rows: int, since: float, running: Sequence[int] = ()) -> float:
        """Returns when a batch should run at the latest, whose first rows are there.

        Args:
            rows: How many there are so far.
            since: Since when.
            running: The rows of each batch of this kind that runs now.
        """
        if self.is_quick:
            return 0.0
        latest = since + min(_PATIENCE * self._seconds, _MOST_PATIENCE)
        if rows < max(running, default=0):
            return latest
        if rows + sum(running) > self._expected - 0.5:
            return 0.0  # those who could come are all here
        return min(latest, self._event + min(_PAUSE * self._seconds, _MOST_PAUSE))


class Queue:
    """What may run together: requests for the same outputs with rows of one shape."""

    def __init__(
        self,
        servable: Loaded,
        signature_name: str,
        outputs: Sequence[str] | None,
        batching: Batching,
        pace: Pace,
    ) -> None:
        self._servable, self._signature_name = servable, signature_name
        self._outputs, self.batching, self.pace = outputs, batching, pace
        self.tasks: deque[Task] = deque()
        self.rows = 0

    def add(self, task: Task) -> None:
        """Queues a task, or refuses it if there are too many."""
        rows = self.rows + task.rows
        batches = -(-rows // self.batching.max_execution_batch_size)
        most = max(self.batching.max_enqueued_batches, 1)
        if self.tasks and batches > most:
            raise ServingError(
                "UNAVAILABLE",
                "The batch scheduling queue to which this task was submitted is full; "
                f"currently {batches} batches enqueued and max_enqueued_batches is "
                f"{most}",
            )
        self.tasks.append(task)
        self.rows = rows

    def due(self) -> float:
        """Returns when the next batch should run, in seconds of the monotonic clock."""
        if self.rows >= self.batching.max_execution_batch_size:
            return 0.0
        return self.tasks[0].since + self.batching.batch_timeout

    def take(self) -> list[Task]:
        """Removes and returns the tasks of the next batch."""
        taken, rows = [self.tasks.popleft()], 0
        rows += taken[0].rows
        most = self.batching.max_execution_batch_size
        while self.tasks and rows + self.tasks[0].rows <= most:
            taken.append(self.tasks.popleft())
            rows += taken[-1].rows
        self.rows -= rows
        return taken

    def run(self, tasks: list[Task]) -> None:
        """Runs a batch, and gives each task its rows."""
        tasks = [task for task in tasks if _is_in_time(task)]
        if not tasks:
            return
        try:
            rows = [task.rows for task in tasks]
            total = _allowed(sum(rows), self.batching.allowed_batch_sizes)
            merged = _merge([task.inputs for task in tasks], total)
            call = _shared([task.call for task in tasks])
            name, wanted = self._signature_name, self._outputs
            started = time.monotonic()
            outputs = self._servable.run(name, merged, wanted, call)
            self.pace.ended(sum(rows), started)
            _check(outputs, total)
            ends = np.cumsum(rows)
            for task, end in zip(tasks, ends.tolist(), strict=True):
                task.call.runtime = call.runtime
                part = slice(end - task.rows, end)
                task.outputs = {key: array[part] for key, array in outputs.items()}
        except Later:  # of a single task, in the thread that has brought it
            raise
        except Exception as error:  # a thread of many requests must not end
            if not isinstance(error, ServingError):
                error = ServingError("INTERNAL", one_line(error))
            for task in tasks:
                task.error = error
        for task in tasks:
            task.done.set()


class Scheduler:
    """Runs the batches of all models, so many at a time.

    There are twice as many threads: while some of them send the answers of a batch that
    has run, others run the next one.
    """

    def __init__(self, threads: int) -> None:
        self._changed = threading.Condition()
        self._queues: OrderedDict[_Key, Queue] = OrderedDict()
        self._running: dict[_Key, list[int]] = {}  # the rows of batches
        self._free = threads
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._work, daemon=True) for _ in range(2 * threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, key: _Key, queue: Queue, task: Task) -> bool:
        """Puts a task into the queue of that key, which may be new.

        If nobody waits and a batch may run, it does so at once in this thread: that
        costs nothing, where to wake up another thread takes as long as a small model.

        Returns:
            Whether the task is to be waited for; otherwise its call is resumed.
        """
        call = task.call
        with self._changed:
            waiting = self._queues.get(key, queue)
            pace, running = queue.pace, self._running.get(key, ())
            rows = waiting.rows + task.rows
            pace.arrived(rows + sum(running), task.since)
            is_alone = not waiting.tasks and not waiting.batching.batch_timeout
            wait = pace.wait(task.rows, task.since, running)
            at_once = is_alone and self._free and wait <= task.since
            if not at_once or not (pace.is_quick or call.may_wait):
                return self._add(key, waiting, task)
            self._begin(key, task.rows)
        try:
            queue.run([task])
        except Later:
            if call.resume is None:
                raise
        finally:
            self._end(key, task.rows)
        if task.done.is_set():
            return True
        with self._changed:
            return self._add(key, self._queues.get(key, queue), task)

    def _add(self, key: _Key, queue: Queue, task: Task) -> bool:
        """Lets a task wait, in this thread if it may; see `run`."""
        call, may_wait = task.call, task.call.may_wait
        if not may_wait and call.resume is None:
            raise Later
        queue.add(task)
        if not may_wait:
            call.task, call.may_wait = task, True  # another thread goes on with it
        self._queues[key] = queue
        # A thread that waits for the queue to be due looks again by itself.
        if self._free and (queue.tasks[0] is task or self._due(key) <= task.since):
            self._changed.notify()
        return may_wait

    def close(self) -> None:
        """Ends the threads, once the queues are empty."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (found := self._next()) is not None:
            key, queue, tasks = found
            try:
                queue.run(tasks)
            finally:
                self._end(key, sum(task.rows for task in tasks))
            for task in tasks:
                if task.call.task is task and task.call.resume is not None:
                    task.call.resume()

    def _begin(self, key: _Key, rows: int) -> None:
        self._free -= 1
        self._running.setdefault(key, []).append(rows)

    def _end(self, key: _Key, rows: int) -> None:
        with self._changed:
            self._free += 1
            self._running[key].remove(rows)
            if not self._running[key]:
                del self._running[key]
            self._changed.notify()

    def _due(self, key: _Key) -> float:
        """Returns when a queue's next batch should run."""
        queue = self._queues[key]
        running = self._running.get(key, ())
        wait = queue.pace.wait(queue.rows, queue.tasks[0].since, running)
        return max(queue.due(), wait if queue.due() else 0.0)

    def _next(self) -> tuple[_Key, Queue, list[Task]] | None:
        """Waits for a batch; None if there will be no more."""
        with self._changed:
            while True:
                key = min(self._queues, key=self._due, default=None)
                if key is None:
                    if self._is_closed:
                        return None
                    self._changed.wait()
                    continue
                queue = self._queues[key]
                left = self._due(key) - time.monotonic()
                if self._free and (left <= 0.0 or self._is_closed):
                    tasks = queue.take()
                    self._begin(key, sum(task.rows for task in tasks))
                    if not queue.tasks:  # clients choose the keys: keep none
                        del self._queues[key]
                    return key, queue, tasks
                self._changed.wait(max(left, 0.0) if self._free else None)


def _is_in_time(task: Task) -> bool:
    """Whether somebody still waits for a task; ends it otherwise."""
    try:
        task.call.remaining()
    except ServingError:
        task.error = ServingError(
            "DEADLINE_EXCEEDED",
            "Run() timeout exceeded while waiting in batching queue",
        )
        task.done.set()
        return False
    return not task.is_given_up


def _shared(calls: list[Call]) -> Call:
    """Returns a call that ends when the last of them does."""
    if len(calls) == 1:
        return calls[0]
    left = []
    for call in calls:
        with contextlib.suppress(ServingError):  # it has just passed
            left.append(call.remaining())
    known = [one for one in left if one is not None]
    return Call(max(known, default=0.0) if len(known) == len(left) else None)


def _allowed(rows: int, sizes: Sequence[int]) -> int:
    return next((size for size in sizes if size >= rows), rows)


def _merge(batch: list[Mapping[str, Array]], total: int) -> dict[str, Array]:
    """Joins the inputs of tasks, and repeats a row until there are `total`."""
    merged = {}
    for name in batch[0]:
        arrays = [inputs[name] for inputs in batch]
        if any(array.shape[1:] != arrays[0].shape[1:] for array in arrays):
            widest = np.max([array.shape[1:] for array in arrays], axis=0).tolist()
            arrays = [_padded(array, widest) for array in arrays]
        missing = total - sum(len(array) for array in arrays)
        if missing:
            arrays.append(np.repeat(arrays[-1][:1], missing, axis=0))
        merged[name] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return merged


def _padded(array: Array, shape: list[int]) -> Array:
    """Makes rows larger, filled up with the first value of the first row."""
    if not array.size:
        raise invalid("Got empty tensor in batch of non-empty tensors.")
    made = np.empty((len(array), *shape), array.dtype)
    made[...] = array.reshape(-1)[0]
    made[tuple(slice(size) for size in array.shape)] = array
    return made


def _check(outputs: Mapping[str, Array], rows: int) -> None:
    for array in outputs.values():
        if not array.ndim:
            raise ServingError(
                "FAILED_PRECONDITION", "Batched output tensor has 0 dimensions"
            )
        if len(array) != rows:
            raise ServingError(
                "FAILED_PRECONDITION",
                "Batched output tensor's 0th dimension does not equal the sum of the "
                "0th dimension sizes of the input tensors",
            )
