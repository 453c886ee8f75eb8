"""The client's own messages are those of TensorFlow Serving's stubs, byte for byte."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
)

from kpg.export.client import protocol

SPEC = {"name": "m", "version": "7", "signatureName": "sample"}
TENSOR = {
    "dtype": "DT_FLOAT",
    "tensorShape": {"dim": [{"size": "2"}], "unknownRank": True},
    "tensorContent": "AAECAw==",
    "floatVal": [1.5, 2.5],
    "doubleVal": [0.25],
    "intVal": [-3],
    "stringVal": ["YWJj"],
    "int64Val": ["-5"],
    "boolVal": [True, False],
    "halfVal": [15360],
    "uint32Val": [4000000000],
    "uint64Val": ["18000000000000000000"],
}
INFO = {"name": "x:0", "dtype": "DT_INT64", "tensorShape": {"dim": [{"size": "-1"}]}}
PAIRS = [
    (
        predict_pb2.PredictRequest,
        protocol.PredictRequest,
        {"modelSpec": SPEC, "inputs": {"a": TENSOR}, "outputFilter": ["x", "y"]},
    ),
    (
        predict_pb2.PredictResponse,
        protocol.PredictResponse,
        {"modelSpec": SPEC, "outputs": {"a": TENSOR}},
    ),
    (
        get_model_metadata_pb2.GetModelMetadataRequest,
        protocol.GetModelMetadataRequest,
        {"modelSpec": SPEC, "metadataField": ["signature_def"]},
    ),
    (
        get_model_metadata_pb2.SignatureDefMap,
        protocol.SignatureDefMap,
        {
            "signatureDef": {
                "s": {
                    "inputs": {"a": INFO},
                    "outputs": {"b": INFO},
                    "methodName": "tensorflow/serving/predict",
                }
            }
        },
    ),
    (
        get_model_status_pb2.GetModelStatusRequest,
        protocol.GetModelStatusRequest,
        {"modelSpec": SPEC},
    ),
    (
        get_model_status_pb2.GetModelStatusResponse,
        protocol.GetModelStatusResponse,
        {
            "model_version_status": [
                {
                    "version": "3",
                    "state": "AVAILABLE",
                    "status": {"error_code": "NOT_FOUND", "error_message": "gone"},
                }
            ]
        },
    ),
]


@pytest.mark.parametrize(
    ("theirs", "ours", "content"), PAIRS, ids=[pair[1].__name__ for pair in PAIRS]
)
def test_same_bytes(theirs: Any, ours: Any, content: dict[str, Any]) -> None:
    wire = json_format.ParseDict(content, theirs()).SerializeToString()
    message = ours.FromString(wire)
    assert message.SerializeToString() == wire
    message.DiscardUnknownFields()
    assert message.SerializeToString() == wire, "a field was passed on without a name"


def test_metadata_response() -> None:
    theirs = get_model_metadata_pb2.GetModelMetadataResponse()
    signatures = get_model_metadata_pb2.SignatureDefMap()
    signatures.signature_def["s"].inputs["x"].name = "x:0"
    theirs.metadata["signature_def"].Pack(signatures)
    ours = protocol.GetModelMetadataResponse.FromString(theirs.SerializeToString())
    packed = protocol.SignatureDefMap.FromString(ours.metadata["signature_def"].value)
    assert packed.signature_def["s"].inputs["x"].name == "x:0"


def test_states() -> None:
    states = get_model_status_pb2.ModelVersionStatus.State
    assert {number: name for name, number in states.items()} == protocol.STATES
