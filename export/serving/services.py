"""Predict, GetModelMetadata and GetModelStatus as TensorFlow Serving answers them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NoReturn, TypeAlias

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from kpg.export.loading import prediction
from kpg.export.serving.model import Model, not_found
from kpg.export.wire import tensors
from kpg.export.wire.errors import ServingError, invalid

_Request: TypeAlias = (
    predict_pb2.PredictRequest
    | get_model_metadata_pb2.GetModelMetadataRequest
    | get_model_status_pb2.GetModelStatusRequest
)

_CODES = {code.name: code for code in grpc.StatusCode}
_LONGEST_MESSAGE = 1024

_logger = logging.getLogger(__name__)


class Services:
    """Answers requests about one model, with TensorFlow Serving's codes and words."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Returns gRPC handlers for PredictionService and ModelService."""
        metadata, status = get_model_metadata_pb2, get_model_status_pb2
        services = {
            "PredictionService": {
                "Predict": _method(self.predict, predict_pb2.PredictRequest),
                "GetModelMetadata": _method(
                    self.get_model_metadata, metadata.GetModelMetadataRequest
                ),
            },
            "ModelService": {
                "GetModelStatus": _method(
                    self.get_model_status, status.GetModelStatusRequest
                )
            },
        }
        return [
            grpc.method_handlers_generic_handler(f"tensorflow.serving.{name}", methods)
            for name, methods in services.items()
        ]

    def predict(
        self, request: predict_pb2.PredictRequest
    ) -> predict_pb2.PredictResponse:
        """Answers a PredictRequest."""
        with self._model.lease(self._version(request)) as (version, servable):
            response = prediction.predict(servable, request)
        response.model_spec.name = self._model.name
        response.model_spec.version.value = version
        return response

    def get_model_metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Answers a GetModelMetadataRequest with the version's signatures."""
        _spec(request)
        if not request.metadata_field:
            raise invalid(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid(f"Metadata field {field} is not supported")
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self._model.lease(self._version(request)) as (version, servable):
            for name, signature in servable.signatures.items():
                signatures.signature_def[name].CopyFrom(signature)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = self._model.name
        response.model_spec.version.value = version
        response.metadata["signature_def"].Pack(signatures)
        return response

    def get_model_status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Answers a GetModelStatusRequest with the state of one or all versions."""
        spec = _spec(request)
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

    def _version(self, request: _Request) -> int | None:
        """Returns the requested version, None for the newest."""
        spec = _spec(request)
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        if spec.HasField("version_label"):
            raise invalid(f"Unrecognized servable version label: {spec.version_label}")
        version = int(spec.version.value) if spec.HasField("version") else None
        if spec.name != self._model.name:
            raise not_found(spec.name, version)
        return version


def _spec(request: _Request) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return request.model_spec


def _method(
    answer: Callable[..., object], request_class: type[_Request]
) -> grpc.RpcMethodHandler:
    """Makes a gRPC method of a function that raises `ServingError`."""

    def call(request: _Request, context: grpc.ServicerContext) -> object:
        try:
            return answer(request)
        except ServingError as error:
            _abort(context, error.code, error.message)
        except Exception as error:  # a bug of kpg must not look like a network error
            _logger.exception("A request failed")
            _abort(context, "INTERNAL", f"{type(error).__name__}: {error}")

    return grpc.unary_unary_rpc_method_handler(
        call,
        request_deserializer=request_class.FromString,
        response_serializer=tensors.serialize,
    )


def _abort(context: grpc.ServicerContext, code: str, message: str) -> NoReturn:
    if len(message) > _LONGEST_MESSAGE:
        message = message[:_LONGEST_MESSAGE] + "...TRUNCATED"
    context.abort(_CODES[code], message)
    raise AssertionError("abort() has returned")
