"""The server that one would write first: TensorFlow's and gRPC's own functions.

    python benchmarks/serving/obvious.py DIRECTORY
    python benchmarks/serving/obvious.py DIRECTORY --empty

It loads the SavedModel in a directory, prints its port and answers Predict. With
`--empty` it has one answer for all requests, and computes and parses nothing: no server
of gRPC for Python is faster.
"""

from __future__ import annotations

import argparse
from concurrent import futures
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

THREADS = 10  # as in gRPC's own examples
FIELD = "tensorflow.serving.PredictionService"


class Obvious(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers by `tf.saved_model.load`."""

    def __init__(self, directory: str) -> None:
        self._loaded = tf.saved_model.load(directory)
        self._function = self._loaded.signatures["serving_default"]

    # gRPC calls it by this name.
    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        inputs = {
            name: tf.constant(tf.make_ndarray(one))
            for name, one in request.inputs.items()
        }
        response = predict_pb2.PredictResponse()
        response.model_spec.CopyFrom(request.model_spec)
        for name, value in self._function(**inputs).items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value.numpy()))
        return response


def empty(answer: bytes) -> grpc.GenericRpcHandler:
    """Returns a handler that always says the same."""
    method = grpc.unary_unary_rpc_method_handler(lambda request, context: answer)
    return grpc.method_handlers_generic_handler(FIELD, {"Predict": method})


def main() -> None:
    """Serves until it is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory")
    parser.add_argument("--empty", action="store_true")
    options = parser.parse_args()
    server = grpc.server(futures.ThreadPoolExecutor(THREADS))
    if options.empty:
        server.add_generic_rpc_handlers([empty(b"\x12\x05\x0a\x03mlp" * 20)])
    else:
        servicer = Obvious(options.directory)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            servicer, server
        )
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
