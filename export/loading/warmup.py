"""Requests that a server runs when it loads a version, before it answers any other.

A first call, one for each signature and batch size, takes a hundred times as long.
Reference: https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from kpg.export.loading import inference
from kpg.export.loading.call import Call
from kpg.export.loading.prediction import predict
from kpg.export.loading.servable import Loaded, Servable
from kpg.export.wire import tensors
from kpg.export.wire.errors import ServingError, invalid
from kpg.types import Array

PATH = Path("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000


def write(
    directory: Path,
    model_name: str,
    requests: Iterable[tuple[str, Mapping[str, Array]]],
) -> None:
    """Writes requests: signature names with arrays. Servers ignore `model_name`."""
    path = directory / PATH
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature_name, inputs in requests:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature_name
            for name, array in inputs.items():
                tensors.encode_content(array, request.inputs[name])
            writer.write(log.SerializeToString())


def load(directory: Path) -> Servable:
    """Loads a version and runs its warm-up requests."""
    servable = Servable(directory)
    try:
        replay(servable)
    except BaseException:
        servable.close()
        raise
    return servable


def replay(servable: Loaded, iterations: int = 1) -> int:
    """Runs the warm-up requests of a loaded version, and returns their number."""
    path = Path(servable.path) / PATH
    if not path.is_file():
        return 0
    count = 0
    for record in _records(path):
        if count == MAX_RECORDS:
            raise invalid(
                "Number of warmup records exceeds the maximum "
                f"({MAX_RECORDS}) at {path}"
            )
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
        except DecodeError as error:
            raise invalid(
                f"Failed to parse warmup record: {record!r} from {path}"
            ) from error
        for _ in range(iterations):
            _run(servable, log)
        count += 1
    return count


def _records(path: Path) -> Iterable[bytes]:
    try:
        yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    except tf.errors.DataLossError as error:
        raise _damaged(path) from error


def _run(servable: Loaded, log: prediction_log_pb2.PredictionLog) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        predict(servable, log.predict_log.request)
    elif kind == "classify_log":
        inference.classify(servable, log.classify_log.request, Call())
    elif kind == "regress_log":
        inference.regress(servable, log.regress_log.request, Call())
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        inference.multi_inference(servable, request, Call())
    else:
        fields = log.DESCRIPTOR.fields_by_name
        number = fields[kind].number if kind else 0
        raise ServingError(
            "UNIMPLEMENTED", f"Unsupported log_type for warmup: {number}"
        )


def _damaged(path: Path) -> ServingError:
    return ServingError(
        "DATA_LOSS",
        f"Could not read {path}. Please verify your warmup data is in TFRecord format.",
    )
