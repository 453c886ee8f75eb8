"""A server of TensorFlow Serving's own stubs that knows nothing of kpg."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)


class Echo(
    prediction_service_pb2_grpc.PredictionServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
):
    """Doubles `x`, float `[B, 2]`, as `y`, and keeps what it is asked.

    Attributes:
        requests: The requests of Predict that came in.
        headers: What each of them carried.
        failures: Codes with which the next requests are refused.
    """

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.failures: list[grpc.StatusCode] = []

    def Predict(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        self.headers.append(dict(context.invocation_metadata()))
        if self.failures:
            context.abort(self.failures.pop(0), "as told")
        response = predict_pb2.PredictResponse()
        response.model_spec.version.value = 1
        double = 2.0 * tf.make_ndarray(request.inputs["x"])
        response.outputs["y"].CopyFrom(tf.make_tensor_proto(double))
        return response

    def GetModelMetadata(self, request: Any, context: Any) -> Any:
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.version.value = 1
        definitions = get_model_metadata_pb2.SignatureDefMap()
        signature = definitions.signature_def["serving_default"]
        for info in (signature.inputs["x"], signature.outputs["y"]):
            info.dtype = tf.float32.as_datatype_enum
            for size in (-1, 2):
                info.tensor_shape.dim.add(size=size)
        response.metadata["signature_def"].Pack(definitions)
        return response

    def GetModelStatus(self, request: Any, context: Any) -> Any:
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.add(version=1, state=30)
        return response

    @contextlib.contextmanager
    def running(
        self,
        address: str = "127.0.0.1:0",
        credentials: grpc.ServerCredentials | None = None,
    ) -> Iterator[str]:
        """Serves at `address`; yields it, with the port that was chosen."""
        server = grpc.server(futures.ThreadPoolExecutor(4))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            self, server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(self, server)
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
        server.start()
        try:
            yield address.replace(":0", f":{port}")
        finally:
            server.stop(None).wait()
