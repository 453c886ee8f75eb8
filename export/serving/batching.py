"""Requests that are run together: one multiplication for many rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from kpg.export.loading.call import Call, Later, Parked
from kpg.export.loading.servable import Loaded
from kpg.export.serving.configuration import Batching
from kpg.export.serving.scheduling import Pace, Queue, Scheduler, Task
from kpg.export.wire import tensors
from kpg.export.wire.errors import invalid
from kpg.export.wire.tensors import SignatureDef
from kpg.types import Array

_Key: TypeAlias = tuple[object, ...]


class Batcher:
    """A version whose requests are run together where the signature allows it."""

    def __init__(
        self, servable: Loaded, batching: Batching, scheduler: Scheduler
    ) -> None:
        self._servable, self._batching = servable, batching
        self._scheduler = scheduler
        self._paces: dict[str, Pace] = {}
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
        if call.task is not None:
            done: Task = call.task
            return done.result()
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
            Task(
                {key: array[at : at + most] for key, array in inputs.items()},
                min(most, rows - at),
                call,
            )
            for at in range(0, rows, most)
        ]
        for task in tasks:
            key = self._key(signature_name, task.inputs, outputs)
            pace = self._paces.setdefault(signature_name, Pace())
            queue = Queue(self._servable, signature_name, outputs, self._batching, pace)
            if not self._scheduler.run(key, queue, task):
                raise Parked
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
