"""Requests that are run together: one multiplication for many rows.

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
from kpg.export.wire import tensors
from kpg.export.wire.errors import ServingError, invalid, one_line
from kpg.export.wire.tensors import SignatureDef
from kpg.types import Array

_Key: TypeAlias = tuple[object, ...]


class _Task:
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
        if self.error is not None:
            raise self.error
        return self.outputs


class _Queue:
    """What may run together: requests for the same outputs with rows of one shape."""

    def __init__(
        self,
        servable: Loaded,
        signature_name: str,
        outputs: Sequence[str] | None,
        batching: Batching,
    ) -> None:
        self._servable, self._signature_name = servable, signature_name
        self._outputs, self.batching = outputs, batching
        self.tasks: deque[_Task] = deque()
        self.rows = 0

    def add(self, task: _Task) -> None:
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

    def take(self) -> list[_Task]:
        """Removes and returns the tasks of the next batch."""
        taken, rows = [self.tasks.popleft()], 0
        rows += taken[0].rows
        most = self.batching.max_execution_batch_size
        while self.tasks and rows + self.tasks[0].rows <= most:
            taken.append(self.tasks.popleft())
            rows += taken[-1].rows
        self.rows -= rows
        return taken

    def run(self, tasks: list[_Task]) -> None:
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
            outputs = self._servable.run(name, merged, wanted, call)
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
    """Runs the batches of all models, so many at a time."""

    def __init__(self, threads: int) -> None:
        self._changed = threading.Condition()
        self._queues: OrderedDict[_Key, _Queue] = OrderedDict()
        self._free = threads
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._work, daemon=True) for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, key: _Key, queue: _Queue, task: _Task) -> None:
        """Puts a task into the queue of that key, which may be new.

        If nobody waits and a batch may run, it does so at once in this thread: that
        costs nothing, where to wake up another thread takes as long as a small model.
        """
        at_once = False
        with self._changed:
            queue = self._queues.setdefault(key, queue)
            if not queue.tasks and self._free and not queue.batching.batch_timeout:
                at_once = True
                del self._queues[key]
                self._free -= 1
            elif not task.call.may_wait:
                if not queue.tasks:  # a new one, which nobody will come for
                    del self._queues[key]
                raise Later
            else:
                queue.add(task)
                if self._free:
                    self._changed.notify()
        if at_once:
            try:
                queue.run([task])
            finally:
                self._give_back()

    def close(self) -> None:
        """Ends the threads, once the queues are empty."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (found := self._next()) is not None:
            queue, tasks = found
            try:
                queue.run(tasks)
            finally:
                self._give_back()

    def _give_back(self) -> None:
        with self._changed:
            self._free += 1
            self._changed.notify()

    def _next(self) -> tuple[_Queue, list[_Task]] | None:
        """Waits for a batch; None if there will be no more."""
        with self._changed:
            while True:
                key = min(
                    self._queues, key=lambda key: self._queues[key].due(), default=None
                )
                if key is None:
                    if self._is_closed:
                        return None
                    self._changed.wait()
                    continue
                queue = self._queues[key]
                left = queue.due() - time.monotonic()
                if self._free and (left <= 0.0 or self._is_closed):
                    self._free -= 1
                    tasks = queue.take()
                    if not queue.tasks:  # clients choose the keys: keep none
                        del self._queues[key]
                    return queue, tasks
                self._changed.wait(max(left, 0.0) if self._free else None)


class Batcher:
    """A version whose requests are run together where the signature allows it."""

    def __init__(
        self, servable: Loaded, batching: Batching, scheduler: Scheduler
    ) -> None:
        self._servable, self._batching = servable, batching
        self._scheduler = scheduler
        self.path = servable.path
        self.signatures, self.plans = servable.signatures, servable.plans
        self.checks_method_names = servable.checks_method_names
        self._batched = {
            name for name, one in self.signatures.items() if _is_by_rows(one)
        }

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        call: Call | None = None,
    ) -> dict[str, Array]:
        """See `Loaded.run`."""
        call = call or Call()
        if signature_name not in self._batched:
            return self._servable.run(signature_name, inputs, outputs, call)
        rows = _rows(inputs)
        if not rows:
            return self._servable.run(signature_name, inputs, outputs, call)
        if rows > self._batching.max_batch_size:
            raise invalid(
                f"Task size {rows} is larger than maximum input batch size "
                f"{self._batching.max_batch_size}"
            )
        most = self._batching.max_execution_batch_size
        if rows > most and not call.may_wait:  # one part might run and another wait
            raise Later
        tasks = [
            _Task(
                {key: array[at : at + most] for key, array in inputs.items()},
                min(most, rows - at),
                call,
            )
            for at in range(0, rows, most)
        ]
        for task in tasks:
            key = self._key(signature_name, task.inputs, outputs)
            queue = _Queue(self._servable, signature_name, outputs, self._batching)
            self._scheduler.run(key, queue, task)
        parts = [task.wait() for task in tasks]
        if len(parts) == 1:
            return parts[0]
        return {key: np.concatenate([one[key] for one in parts]) for key in parts[0]}

    def run_tensors(
        self, feeds: Mapping[str, Array], fetches: Sequence[str], call: Call
    ) -> list[Array]:
        """See `Loaded.run_tensors`. Such requests run alone."""
        return self._servable.run_tensors(feeds, fetches, call)

    def close(self) -> None:
        """See `Loaded.close`."""
        self._servable.close()

    def _key(
        self,
        signature_name: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None,
    ) -> _Key:
        pads = self._batching.pad_variable_length_inputs
        shapes = [
            (name, array.ndim if pads else array.shape[1:])
            for name, array in sorted(inputs.items())
        ]
        wanted = None if outputs is None else tuple(outputs)
        return id(self), signature_name, wanted, tuple(shapes)


def _is_by_rows(signature: SignatureDef) -> bool:
    """Whether all inputs and outputs of a signature have rows, as many as they like.

    A signature with an input of another kind, such as a seed, is never batched;
    TensorFlow Serving refuses its requests.
    """
    shapes = [
        tensors.shape_of(info)
        for info in [*signature.inputs.values(), *signature.outputs.values()]
    ]
    return bool(signature.inputs) and all(
        shape is None or (len(shape) > 0 and shape[0] is None) for shape in shapes
    )


def _rows(inputs: Mapping[str, Array]) -> int:
    sizes = {array.shape[0] if array.ndim else -1 for array in inputs.values()}
    if -1 in sizes:
        raise invalid("Batching Run() input tensors must have at least one dimension")
    if len(sizes) > 1:
        raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
    return int(sizes.pop())


def _is_in_time(task: _Task) -> bool:
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
