"""Small models to serve, with every kind of signature, and requests for them."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import input_pb2

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


class HalfPlus(tf.Module):
    """Halves what it gets, and adds a number: the example of TensorFlow Serving."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = tf.Variable(number)

    def halve(self, x: Any) -> Any:
        return 0.5 * x + self.number

    def parse(self, inputs: Any) -> Any:
        feature = {"x": tf.io.FixedLenFeature([1], tf.float32, default_value=[7.0])}
        return tf.io.parse_example(inputs, feature)["x"]

    @tf.function(input_signature=[tf.TensorSpec([None], name="x")])
    def predict(self, x: Any) -> dict[str, Any]:
        return {"y": self.halve(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs: Any) -> dict[str, Any]:
        return {"scores": self.halve(self.parse(inputs))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def label(self, inputs: Any) -> dict[str, Any]:
        scores = self.halve(self.parse(inputs))
        return {"scores": scores, "classes": tf.strings.as_string(scores, 1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(self, inputs: Any) -> dict[str, Any]:
        return {"outputs": self.halve(self.parse(inputs))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def sums(self, inputs: Any) -> dict[str, Any]:
        """No regression: one number for all rows."""
        return {"outputs": tf.reduce_sum(self.parse(inputs))}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], name="a"),
            tf.TensorSpec([None], tf.string, name="b"),
        ]
    )
    def both(self, a: Any, b: Any) -> dict[str, Any]:
        return {"total": tf.reduce_sum(a, 1), "name_bytes": b, "name": b}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="n")])
    def types(self, n: Any) -> dict[str, Any]:
        """Every type that an answer can have."""
        kinds = "bfloat16 half double int8 uint16 uint32 uint64 bool complex64".split()
        made = {kind: tf.cast(n, kind) for kind in kinds}
        return {**made, "qint8": tf.bitcast(tf.cast(n, tf.int8), tf.qint8)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], name="x"),
            tf.TensorSpec([], tf.int32, name="steps"),
        ]
    )
    def work(self, x: Any, steps: Any) -> dict[str, Any]:
        """Takes as long as it is told."""
        matrix = tf.fill([100, 100], 1e-3)
        _, end = tf.while_loop(
            lambda step, _: step < steps,
            lambda step, matrix: (step + 1, tf.linalg.matmul(matrix, matrix)),
            (0, matrix),
        )
        return {"y": x + end[0, 0]}


class Counter(tf.Module):
    """Counts: its signatures have no inputs, or none but a number."""

    def __init__(self) -> None:
        super().__init__()
        self.counter = tf.Variable(0.0, trainable=False)

    @tf.function(input_signature=[])
    def get(self) -> dict[str, Any]:
        return {"output": self.counter.read_value()}

    @tf.function(input_signature=[tf.TensorSpec([], name="delta")])
    def add(self, delta: Any) -> dict[str, Any]:
        return {"output": self.counter.assign_add(delta)}


def publish_counter(directory: Path) -> Path:
    """Writes version 1 of a model that counts, which becomes visible whole."""
    model, stage = Counter(), directory / ".tmp-1"
    signatures = {"get_counter": model.get, "incr_counter_by": model.add}
    tf.saved_model.save(model, str(stage), signatures=signatures)
    return stage.rename(directory / "1")


def publish(directory: Path, version: int = 1, number: float = 2.0) -> Path:
    """Writes a version of the model, which becomes visible whole."""
    model = HalfPlus(number)
    stage = directory / f".tmp-{version}"
    signatures = {
        "serving_default": model.predict,
        "classify_x_to_y": model.classify,
        "label": model.label,
        "regress_x_to_y": model.regress,
        "sums": model.sums,
        "both": model.both,
        "types": model.types,
        "work": model.work,
    }
    tf.saved_model.save(model, str(stage), signatures=signatures)
    return stage.rename(directory / str(version))


def examples(*values: float) -> Any:
    """Returns the input of a request to classify or to regress."""
    made = input_pb2.Input()
    for value in values:
        example = made.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(value)
    return made


def free_port() -> int:
    """Returns a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def refusal(call: Any, *arguments: Any, **named: Any) -> tuple[str, str]:
    """Returns the code and the words with which a call is refused."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **named)
    error: Any = caught.value
    return error.code().name, error.details()
