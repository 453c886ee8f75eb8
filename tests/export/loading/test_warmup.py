"""Warm-up requests: written, replayed, and refused when they are damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from kpg.export import ServingError
from kpg.export.loading import warmup
from kpg.export.loading.servable import Servable

ONES = {"observation": np.ones((3, 2), np.float32)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A model of two columns that returns what it gets."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, 2], name="observation")])
    def function(observation: Any) -> dict[str, Any]:
        return {"same": tf.ensure_shape(observation, [None, 2]) + 0.0}

    module.function = function
    signatures = {"serving_default": function}
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=signatures)
    return tmp_path / "model"


def test_warmup_is_replayed(path: Path) -> None:
    servable = Servable(path)
    assert warmup.replay(servable) == 0
    warmup.write(path, "m", [("serving_default", ONES)] * 3)
    assert warmup.replay(servable) == 3


def test_a_failing_warmup_request_fails_the_load(path: Path) -> None:
    wide = {"observation": np.ones((3, 4), np.float32)}
    warmup.write(path, "m", [("serving_default", ONES), ("serving_default", wide)])
    with pytest.raises(ServingError, match="is not compatible"):
        warmup.replay(Servable(path))


def test_too_many_warmup_records(path: Path) -> None:
    warmup.write(path, "m", [("serving_default", ONES)] * (warmup.MAX_RECORDS + 1))
    with pytest.raises(ServingError, match=r"exceeds the maximum \(1000\) at"):
        warmup.replay(Servable(path))


def write_records(path: Path, *records: bytes) -> None:
    (path / warmup.PATH).parent.mkdir()
    with tf.io.TFRecordWriter(str(path / warmup.PATH)) as writer:
        for record in records:
            writer.write(record)


def test_an_unsupported_warmup_record(path: Path) -> None:
    log = prediction_log_pb2.PredictionLog()
    log.session_run_log.SetInParent()
    write_records(path, log.SerializeToString())
    number = log.DESCRIPTOR.fields_by_name["session_run_log"].number
    with pytest.raises(
        ServingError, match=f"Unsupported log_type for warmup: {number}"
    ) as caught:
        warmup.replay(Servable(path))
    assert caught.value.code == "UNIMPLEMENTED"


def test_a_damaged_warmup_file(path: Path) -> None:
    write_records(path, b"\xff no message")
    with pytest.raises(ServingError, match="Failed to parse warmup record") as caught:
        warmup.replay(Servable(path))
    assert caught.value.code == "INVALID_ARGUMENT"
    (path / warmup.PATH).write_bytes(b"this is not a TFRecord")
    with pytest.raises(ServingError, match="verify your warmup data") as caught:
        warmup.replay(Servable(path))
    assert caught.value.code == "DATA_LOSS"
