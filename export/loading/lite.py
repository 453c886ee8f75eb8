"""A LiteRT model, `model.tflite`, served as if it were a SavedModel.

Reference: servables/tensorflow/{tflite_session,tflite_interpreter_pool}.cc in
tensorflow_serving.
"""

from __future__ import annotations

import os
import queue
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from flatbuffers import flexbuffers
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.lite.python import schema_py_generated as schema

from kpg.export.loading.call import Call, Later
from kpg.export.loading.servable import Loading, Plan, tensor_name
from kpg.export.wire import names
from kpg.export.wire.errors import ServingError, invalid, one_line
from kpg.export.wire.tensors import SignatureDef
from kpg.types import Array

FILE = "model.tflite"
_METADATA = b"signature_defs_metadata"
_PREDICT = "tensorflow/serving/predict"


class LiteServable:
    """A `model.tflite` with interpreters that take turns, ready for any thread."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        loading: Loading | None = None,
        interpreters: int = 1,
    ) -> None:
        """Loads the model of a version's directory."""
        loading = loading or Loading()
        self.path = os.fspath(path)
        self.checks_method_names = loading.checks_method_names
        self._turns = loading.turns
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        try:
            content = Path(path, FILE).read_bytes()
            made = [_interpreter(content) for _ in range(interpreters)]
            self.signatures = _signatures(content, made[0])
        except (OSError, ValueError, RuntimeError) as error:
            raise invalid(
                f"{FILE} must be a LiteRT model: {one_line(error)}. Received: "
                f"{self.path}"
            ) from error
        for one in made:
            self._free.put(one)
        self.plans = {name: Plan.of(one) for name, one in self.signatures.items()}

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        call: Call | None = None,
    ) -> dict[str, Array]:
        """See `Loaded.run`."""
        signature, plan = self.signatures[signature_name], self.plans[signature_name]
        feeds = {tensor_name(signature.inputs[key]): inputs[key] for key in plan.inputs}
        keys = list(plan.outputs if outputs is None else outputs)
        fetches = [tensor_name(signature.outputs[key]) for key in keys]
        fetched = self.run_tensors(feeds, fetches, call or Call())
        return dict(zip(keys, fetched, strict=True))

    def run_tensors(
        self, feeds: Mapping[str, Array], fetches: Sequence[str], call: Call
    ) -> list[Array]:
        """See `Loaded.run_tensors`."""
        if not call.may_wait:  # an interpreter may have to be waited for
            raise Later
        self._turns.take(call, 0.0)
        try:
            interpreter = self._free.get(timeout=call.remaining())
            started = time.perf_counter()
            try:
                return _run(interpreter, feeds, fetches)
            finally:
                call.runtime += time.perf_counter() - started
                self._free.put(interpreter)
        except queue.Empty:
            raise ServingError(
                "DEADLINE_EXCEEDED", "Timed out waiting for an interpreter"
            ) from None
        except (ValueError, RuntimeError) as error:
            if isinstance(error, ServingError):
                raise
            raise invalid(str(error)) from error
        finally:
            self._turns.give_back()

    def close(self) -> None:
        """See `Loaded.close`."""
        while not self._free.empty():
            self._free.get()


def _interpreter(content: bytes) -> Any:
    with warnings.catch_warnings():
        # TensorFlow wants its successor to be used, which is another package.
        warnings.simplefilter("ignore")
        return tf.lite.Interpreter(model_content=content, num_threads=1)


def _run(
    interpreter: Any, feeds: Mapping[str, Array], fetches: Sequence[str]
) -> list[Array]:
    inputs = _by_name(interpreter.get_input_details())
    for name, array in feeds.items():
        interpreter.resize_tensor_input(inputs[name]["index"], array.shape)
    interpreter.allocate_tensors()
    for name, array in feeds.items():
        interpreter.set_tensor(inputs[name]["index"], array)
    interpreter.invoke()
    outputs = _by_name(interpreter.get_output_details())
    return [interpreter.get_tensor(outputs[name]["index"]) for name in fetches]


def _by_name(details: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns tensors by name, in TensorFlow's way and as it is in the file."""
    return {name: one for one in details for name in (one["name"], f"{one['name']}:0")}


def _signatures(content: bytes, interpreter: Any) -> dict[str, SignatureDef]:
    """Returns those in the file, or else one of all inputs and outputs."""
    model = schema.Model.GetRootAs(content, 0)
    for number in range(model.MetadataLength()):
        metadata = model.Metadata(number)
        if metadata.Name() == _METADATA:
            data = model.Buffers(metadata.Buffer()).DataAsNumpy().tobytes()
            found = flexbuffers.GetRoot(data).AsMap
            return {
                key.AsKey: meta_graph_pb2.SignatureDef.FromString(value.AsStringBytes)
                for key, value in zip(found.Keys, found.Values, strict=True)
            }
    made = meta_graph_pb2.SignatureDef(method_name=_PREDICT)
    for details, infos in (
        (interpreter.get_input_details(), made.inputs),
        (interpreter.get_output_details(), made.outputs),
    ):
        for one in details:
            info = infos[one["name"]]
            info.name = f"{one['name']}:0"
            info.dtype = tf.as_dtype(one["dtype"]).as_datatype_enum
            for size in one["shape_signature"].tolist():
                info.tensor_shape.dim.add(size=size)
    return {names.GREEDY: made}
