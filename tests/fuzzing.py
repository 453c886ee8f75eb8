"""Malformed messages for a server, the same for the same seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
)

from tests.served_models import CLASSIFY, examples

SERVICE = "/tensorflow.serving."


def messages(seed: int) -> Iterator[tuple[str, bytes]]:
    """Yields methods and what to send them: noise, cuts, changes, wild values."""
    rng = random.Random(seed)
    valid = _valid()
    while True:
        method, message = rng.choice(valid)
        data = bytearray(message.SerializeToString())
        kind = rng.randrange(5)
        if kind == 0:
            data = bytearray(rng.randbytes(rng.randrange(200)))
        elif kind == 1:
            del data[rng.randrange(len(data) + 1) :]
        elif kind == 2:
            for _ in range(rng.randrange(1, 8)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        elif kind == 3:
            other = rng.choice(valid)[1].SerializeToString()
            at = rng.randrange(len(data) + 1)
            data[at:at] = other[: rng.randrange(len(other) + 1)]
        else:
            method, data = "PredictionService/Predict", bytearray(_wild(rng))
        yield SERVICE + method, bytes(data)


def documents(seed: int) -> Iterator[bytes]:
    """Yields bodies for the REST interface that are wrong in many ways."""
    rng = random.Random(seed)
    valid = [
        {"instances": [1.0, 2.0]},
        {"inputs": {"x": [1.0]}},
        {"signature_name": "both", "instances": [{"a": [1, 2], "b": {"b64": "AQ=="}}]},
        {"signature_name": "classify_x_to_y", "examples": [{"x": 1.0}]},
    ]
    while True:
        data = bytearray(json.dumps(rng.choice(valid)).encode())
        kind = rng.randrange(4)
        if kind == 0:
            data = bytearray(rng.randbytes(rng.randrange(100)))
        elif kind == 1:
            del data[rng.randrange(len(data) + 1) :]
        elif kind == 2:
            for _ in range(rng.randrange(1, 6)):
                data[rng.randrange(len(data))] = rng.choice(
                    b'[]{},:"0123456789eE-.nt\\'
                )
        else:
            data = bytearray(json.dumps({"instances": _value(rng, 6)}).encode())
        yield bytes(data)


def _valid() -> list[tuple[str, Any]]:
    predict = predict_pb2.PredictRequest()
    predict.model_spec.name = "default"
    predict.inputs["x"].dtype = 1
    predict.inputs["x"].float_val.append(1.0)
    predict.inputs["x"].tensor_shape.dim.add(size=1)
    classify = classification_pb2.ClassificationRequest(input=examples(1.0))
    classify.model_spec.name = "default"
    classify.model_spec.signature_name = "label"
    infer = inference_pb2.MultiInferenceRequest(input=examples(1.0))
    infer.tasks.add(method_name=CLASSIFY).model_spec.CopyFrom(classify.model_spec)
    metadata = get_model_metadata_pb2.GetModelMetadataRequest()
    metadata.model_spec.name = "default"
    metadata.metadata_field.append("signature_def")
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "default"
    reload = model_management_pb2.ReloadConfigRequest()
    reload.config.model_config_list.config.add(name="x", base_path="relative")
    return [
        ("PredictionService/Predict", predict),
        ("PredictionService/Classify", classify),
        ("PredictionService/Regress", classify),
        ("PredictionService/MultiInference", infer),
        ("PredictionService/GetModelMetadata", metadata),
        ("ModelService/GetModelStatus", status),
        ("ModelService/HandleReloadConfigRequest", reload),
    ]


def _wild(rng: random.Random) -> bytes:
    """Returns a well-formed request of values that mean nothing."""
    made = predict_pb2.PredictRequest()
    made.model_spec.name = rng.choice(["default", "default", "", "😀" * 300, "../x"])
    names = ["", "serving_default", "types", "both", "__saved_model_init_op", "zz"]
    made.model_spec.signature_name = rng.choice(names)
    if not rng.randrange(5):
        made.model_spec.version.value = rng.choice([0, 1, -1, 2**63 - 1])
    for name in rng.sample(["x", "n", "a", "b", "", "steps"], rng.randrange(3)):
        tensor = made.inputs[name]
        tensor.dtype = rng.choice([1, 1, 7, 9, 14, 0, 20, 21, 23, 101])
        for _ in range(rng.randrange(4)):
            sizes = [0, 1, 2, 3, 2**16, 2**31, 2**40, -1, 2**63 - 1]
            tensor.tensor_shape.dim.add(size=rng.choice(sizes))
        tensor.tensor_shape.unknown_rank = not rng.randrange(10)
        if rng.randrange(2):
            tensor.float_val.extend([rng.random()] * rng.randrange(4))
            tensor.string_val.extend([b"x" * rng.randrange(50)] * rng.randrange(3))
        else:
            tensor.tensor_content = rng.randbytes(rng.choice([0, 3, 4, 8, 12]))
    outputs = rng.sample(["y", "y", "", "zz", "total"], rng.randrange(3))
    made.output_filter.extend(outputs)
    return bytes(made.SerializeToString())


def _value(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(8 if depth else 5)
    if kind < 5:
        return rng.choice([0, 1.5, "a", None, True, 2**70, float("nan"), {"b64": "?"}])
    if kind < 7:
        return [_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    keys = rng.sample(["x", "b64", "a"], rng.randrange(3))
    return {key: _value(rng, depth - 1) for key in keys}
