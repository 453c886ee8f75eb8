"""A `model.tflite` in place of a SavedModel."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from kpg.export import ServingError
from kpg.export.loading.call import Call, Later
from kpg.export.loading.lite import FILE, LiteServable
from kpg.export.loading.prediction import predict


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Halves `x`, and adds 2."""

    @tf.function(input_signature=[tf.TensorSpec([None, 2], name="x")])
    def function(x: Any) -> Any:
        return 0.5 * x + 2.0

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = tf.lite.TFLiteConverter.from_concrete_functions(
            [function.get_concrete_function()]
        ).convert()
    directory = tmp_path_factory.mktemp("lite")
    (directory / FILE).write_bytes(made)
    return directory


def test_requests(path: Path) -> None:
    servable = LiteServable(path, interpreters=2)
    signature = servable.signatures["serving_default"]
    (x,), (y,) = signature.inputs, signature.outputs
    request = predict_pb2.PredictRequest()
    for rows in (1, 3):
        request.inputs[x].CopyFrom(tf.make_tensor_proto(np.full((rows, 2), 2.0, "f4")))
        values = list(predict(servable, request).outputs[y].float_val)
        assert values == [3.0] * 2 * rows
    feed = {signature.inputs[x].name: np.zeros((1, 2), np.float32)}
    (array,) = servable.run_tensors(feed, [signature.outputs[y].name], Call())
    assert array.tolist() == [[2.0, 2.0]]
    with pytest.raises(Later):  # an interpreter may have to be waited for
        servable.run_tensors(feed, [], Call(may_wait=False))
    with pytest.raises(ServingError, match="Expects arg"):
        request.inputs[x].CopyFrom(tf.make_tensor_proto(np.zeros((1, 2))))
        predict(servable, request)
    servable.close()


def test_many_threads(path: Path) -> None:
    servable = LiteServable(path, interpreters=2)
    signature = servable.signatures["serving_default"]
    (x,), right = signature.inputs, []

    def work(number: int) -> None:
        for _ in range(20):
            inputs = {x: np.full((number, 2), number, np.float32)}
            (y,) = servable.run("serving_default", inputs).values()
            right.append(y.shape == (number, 2) and bool((y == number / 2 + 2).all()))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(right) == 100 and all(right)


def test_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="must be a LiteRT model"):
        LiteServable(tmp_path)
    (tmp_path / FILE).write_bytes(b"\xff" * 100)
    with pytest.raises(ServingError, match="must be a LiteRT model"):
        LiteServable(tmp_path)
