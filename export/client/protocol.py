"""The messages of TensorFlow Serving that a client needs, without TensorFlow.

Its own stubs import TensorFlow. These messages have the same field numbers and types,
but other names, in a pool of their own, where they cannot clash with the stubs.
Reference: tensorflow_serving/apis/*.proto, https://github.com/tensorflow/serving.
"""

from __future__ import annotations

from kpg.export.wire import messages

PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"

STATES = {
    0: "UNKNOWN",
    10: "START",
    20: "LOADING",
    30: "AVAILABLE",
    40: "UNLOADING",
    50: "END",
}

# Unused fields are left out, `any` is google.protobuf.Any, and `int64_value` is
# google.protobuf.Int64Value.
_DECLARATIONS = {
    "Dimension": "int64 size = 1",
    "Shape": "repeated Dimension dim = 2, bool unknown_rank = 3",
    "Tensor": "int32 dtype = 1, Shape tensor_shape = 2, bytes tensor_content = 4, "
    "repeated float float_val = 5, repeated double double_val = 6, "
    "repeated int32 int_val = 7, repeated bytes string_val = 8, "
    "repeated float scomplex_val = 9, repeated double dcomplex_val = 12, "
    "repeated int64 int64_val = 10, repeated bool bool_val = 11, "
    "repeated int32 half_val = 13, repeated uint32 uint32_val = 16, "
    "repeated uint64 uint64_val = 17",
    "int64_value": "int64 value = 1",
    "any": "string type_url = 1, bytes value = 2",
    "ModelSpec": "string name = 1, int64_value version = 2, string signature_name = 3, "
    "string version_label = 4",
    "PredictRequest": "ModelSpec model_spec = 1, map Tensor inputs = 2, "
    "repeated string output_filter = 3",
    "PredictResponse": "map Tensor outputs = 1, ModelSpec model_spec = 2",
    "GetModelMetadataRequest": "ModelSpec model_spec = 1, "
    "repeated string metadata_field = 2",
    "GetModelMetadataResponse": "ModelSpec model_spec = 1, map any metadata = 2",
    "TensorInfo": "string name = 1, int32 dtype = 2, Shape tensor_shape = 3",
    "SignatureDef": "map TensorInfo inputs = 1, map TensorInfo outputs = 2, "
    "string method_name = 3",
    "SignatureDefMap": "map SignatureDef signature_def = 1",
    "Status": "int32 error_code = 1, string error_message = 2",
    "ModelVersionStatus": "int64 version = 1, int32 state = 2, Status status = 3",
    "GetModelStatusRequest": "ModelSpec model_spec = 1",
    "GetModelStatusResponse": "repeated ModelVersionStatus model_version_status = 1",
}

_MESSAGES = messages.classes("kpg.serving", _DECLARATIONS)

PredictRequest = _MESSAGES["PredictRequest"]
PredictResponse = _MESSAGES["PredictResponse"]
GetModelMetadataRequest = _MESSAGES["GetModelMetadataRequest"]
GetModelMetadataResponse = _MESSAGES["GetModelMetadataResponse"]
SignatureDefMap = _MESSAGES["SignatureDefMap"]
GetModelStatusRequest = _MESSAGES["GetModelStatusRequest"]
GetModelStatusResponse = _MESSAGES["GetModelStatusResponse"]
