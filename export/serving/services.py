"""The gRPC methods: Predict, GetModelMetadata and GetModelStatus.

Reference: tensorflow_serving/model_servers/{prediction_service,model_service}_impl.cc.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
)

from kpg.export.loading import prediction
from kpg.export.serving.model import Model, not_found
from kpg.export.wire.errors import ServingError

_CODES = {code.name: code for code in grpc.StatusCode}
_LONGEST_MESSAGE = 1024

_logger = logging.getLogger(__name__)


class Services:
    """Answers requests about one model."""

    def __init__(self, model: Model) -> None:
        """Binds the methods to a model.

        Args:
            model: The one model of this server.
        """
        self._model = model

    def handlers(self) -> list[Any]:
        """Returns gRPC handlers for PredictionService and ModelService."""
        metadata, status = get_model_metadata_pb2, get_model_status_pb2
        prediction_methods = {
            "Predict": _method(self.predict, predict_pb2.PredictRequest),
            "GetModelMetadata": _method(
                self.get_model_metadata, metadata.GetModelMetadataRequest
            ),
        }
        model_methods = {
            "GetModelStatus": _method(
                self.get_model_status, status.GetModelStatusRequest
            )
        }
        return [
            grpc.method_handlers_generic_handler(
                "tensorflow.serving.PredictionService", prediction_methods
            ),
            grpc.method_handlers_generic_handler(
                "tensorflow.serving.ModelService", model_methods
            ),
        ]

    def predict(self, request: Any) -> Any:
        """Answers a PredictRequest with a PredictResponse.

        Raises:
            ServingError: With the code and the words of TensorFlow Serving.
        """
        wanted = self._version(request)
        with self._model.lease(wanted) as (version, servable):
            response = prediction.predict(servable, request)
        response.model_spec.name = self._model.name
        response.model_spec.version.value = version
        return response

    def get_model_metadata(self, request: Any) -> Any:
        """Answers a GetModelMetadataRequest with the version's signatures.

        Raises:
            ServingError: With the code and the words of TensorFlow Serving.
        """
        _check_spec(request)
        if not request.metadata_field:
            raise _invalid(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.metadata_field:
            if field != "signature_def":
                raise _invalid(f"Metadata field {field} is not supported")
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self._model.lease(self._version(request)) as (version, servable):
            for name, signature in servable.signatures.items():
                signatures.signature_def[name].CopyFrom(signature)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = self._model.name
        response.model_spec.version.value = version
        response.metadata["signature_def"].Pack(signatures)
        return response

    def get_model_status(self, request: Any) -> Any:
        """Answers a GetModelStatusRequest with the state of one or all versions.

        Raises:
            ServingError: With the code and the words of TensorFlow Serving.
        """
        _check_spec(request)
        spec = request.model_spec
        states = self._model.states() if spec.name == self._model.name else []
        if spec.HasField("version"):
            version = spec.version.value
            states = [state for state in states if state.version == version]
            missing = f"Could not find version {version} of model {spec.name}"
        else:
            missing = f"Could not find any versions of model {spec.name}"
        if not states:
            raise ServingError("NOT_FOUND", missing)
        response = get_model_status_pb2.GetModelStatusResponse()
        for state in states:
            entry = response.model_version_status.add(
                version=state.version, state=state.state
            )
            entry.status.SetInParent()
            if state.error is not None:
                entry.status.error_code = _CODES[state.error.code].value[0]
                entry.status.error_message = state.error.message
        return response

    def _version(self, request: Any) -> int | None:
        """Returns the version that a request asks for, None for the newest."""
        _check_spec(request)
        spec = request.model_spec
        if not spec.name:
            raise _invalid("ModelSpec has no name specified.")
        if spec.HasField("version_label"):
            raise _invalid(f"Unrecognized servable version label: {spec.version_label}")
        version = int(spec.version.value) if spec.HasField("version") else None
        if spec.name != self._model.name:
            raise not_found(spec.name, version)
        return version


def _check_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise _invalid("Missing ModelSpec")


def _invalid(message: str) -> ServingError:
    return ServingError("INVALID_ARGUMENT", message)


def _method(answer: Callable[[Any], Any], request_class: Any) -> Any:
    """Makes a gRPC method of a function that raises `ServingError`."""

    def call(request: Any, context: Any) -> Any:
        try:
            return answer(request)
        except ServingError as error:
            return _abort(context, error.code, error.message)
        except Exception as error:  # a fault of ours must not look like a broken wire
            _logger.exception("A request failed")
            return _abort(context, "INTERNAL", f"{type(error).__name__}: {error}")

    return grpc.unary_unary_rpc_method_handler(
        call,
        request_deserializer=request_class.FromString,
        response_serializer=_serialize,
    )


def _serialize(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _abort(context: Any, code: str, message: str) -> Any:
    """Ends a call with an error; gRPC does so by an exception of its own."""
    if len(message) > _LONGEST_MESSAGE:
        message = message[:_LONGEST_MESSAGE] + "...TRUNCATED"
    return context.abort(_CODES[code], message)
