"""PredictionService and ModelService as TensorFlow Serving answers them."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any, NamedTuple, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from kpg.export.loading import inference, prediction
from kpg.export.loading.call import Call, Later, Parked
from kpg.export.serving import metrics
from kpg.export.serving.access import AccessLog
from kpg.export.serving.catalog import Catalog
from kpg.export.serving.model import Lease
from kpg.export.wire.errors import ServingError, invalid, one_line

_Request: TypeAlias = Any  # any message of TensorFlow Serving's
_Answer: TypeAlias = Callable[[_Request, Call], Any]
_Handler: TypeAlias = Callable[[bytes, grpc.ServicerContext], bytes]

_CODES = {code.name: code for code in grpc.StatusCode}
_LONGEST_MESSAGE = 1024  # bytes
_ALWAYS = 1e9  # seconds: what gRPC says if there is no deadline is more

_logger = logging.getLogger(__name__)


class Answered(NamedTuple):
    """What is known about a request that has been answered."""

    interface: str  # "GRPC" or "REST"
    method: str
    model: str
    code: str
    seconds: float
    peer: str = ""
    received: int = 0  # bytes
    sent: int = 0


class Services:
    """Answers requests about models, with TensorFlow Serving's codes and words.

    Attributes:
        catalog: The models.
        metrics: What has been answered so far.
    """

    def __init__(
        self,
        catalog: Catalog,
        found: metrics.Metrics,
        *,
        access_log: AccessLog | None = None,
        as_content: bool = False,
    ) -> None:
        """`as_content` answers Predict in bytes instead of typed fields."""
        self.catalog, self.metrics = catalog, found
        self._access_log, self._as_content = access_log, as_content

    def handlers(
        self, threads: futures.ThreadPoolExecutor | None = None
    ) -> list[grpc.GenericRpcHandler]:
        """Returns gRPC handlers for PredictionService and ModelService.

        What computes runs in `threads` alone, if given, so that it does not keep the
        others from answering, above all what asks for the server's health.
        """
        metadata, status = get_model_metadata_pb2, get_model_status_pb2
        services: dict[str, dict[str, tuple[_Answer, type[_Request]]]] = {
            "PredictionService": {
                "Predict": (self.predict, predict_pb2.PredictRequest),
                "Classify": (self.classify, classification_pb2.ClassificationRequest),
                "Regress": (self.regress, regression_pb2.RegressionRequest),
                "MultiInference": (
                    self.multi_inference,
                    inference_pb2.MultiInferenceRequest,
                ),
                "GetModelMetadata": (
                    self.get_model_metadata,
                    metadata.GetModelMetadataRequest,
                ),
            },
            "ModelService": {
                "GetModelStatus": (self.get_model_status, status.GetModelStatusRequest),
                "HandleReloadConfigRequest": (
                    self.reload_config,
                    model_management_pb2.ReloadConfigRequest,
                ),
            },
        }
        return [
            grpc.method_handlers_generic_handler(
                f"tensorflow.serving.{service}",
                {
                    name: self._method(
                        name, *made, threads if service == "PredictionService" else None
                    )
                    for name, made in methods.items()
                },
            )
            for service, methods in services.items()
        ]

    def predict(
        self, request: predict_pb2.PredictRequest, call: Call
    ) -> predict_pb2.PredictResponse:
        """Answers a PredictRequest."""
        with self._leased(_spec(request), call) as (version, servable):
            response = prediction.predict(
                servable, request, call, as_content=self._as_content
            )
        _complete(response.model_spec, request.model_spec, version)
        return response

    def classify(
        self, request: classification_pb2.ClassificationRequest, call: Call
    ) -> classification_pb2.ClassificationResponse:
        """Answers a ClassificationRequest."""
        with self._leased(_spec(request), call) as (version, servable):
            response = inference.classify(servable, request, call)
        _complete(response.model_spec, request.model_spec, version)
        return response

    def regress(
        self, request: regression_pb2.RegressionRequest, call: Call
    ) -> regression_pb2.RegressionResponse:
        """Answers a RegressionRequest."""
        with self._leased(_spec(request), call) as (version, servable):
            response = inference.regress(servable, request, call)
        _complete(response.model_spec, request.model_spec, version)
        return response

    def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest, call: Call
    ) -> inference_pb2.MultiInferenceResponse:
        """Answers a MultiInferenceRequest; the first task says of which version."""
        spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        with self._leased(spec, call) as (version, servable):
            response = inference.multi_inference(servable, request, call)
        for result, task in zip(response.results, request.tasks, strict=True):
            _complete(result.model_spec, task.model_spec, version)
        return response

    def get_model_metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, call: Call
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Answers a GetModelMetadataRequest with the version's signatures."""
        spec = _spec(request)
        if not request.metadata_field:
            raise invalid(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid(f"Metadata field {field} is not supported")
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self._leased(spec, call) as (version, servable):
            for name, signature in servable.signatures.items():
                signatures.signature_def[name].CopyFrom(signature)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        _complete(response.model_spec, spec, version)
        response.metadata["signature_def"].Pack(signatures)
        return response

    def get_model_status(
        self, request: get_model_status_pb2.GetModelStatusRequest, call: Call
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Answers a GetModelStatusRequest with the state of one or all versions."""
        response = get_model_status_pb2.GetModelStatusResponse()
        for state in self.catalog.states(_spec(request)):
            entry = response.model_version_status.add(
                version=state.version, state=state.state
            )
            entry.status.SetInParent()
            if state.error is not None:
                entry.status.error_code = _CODES[state.error.code].value[0]
                entry.status.error_message = state.error.message
        return response

    def reload_config(
        self, request: model_management_pb2.ReloadConfigRequest, call: Call
    ) -> model_management_pb2.ReloadConfigResponse:
        """Answers a ReloadConfigRequest, when its models are served or refused."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        before = {name: self.metrics.value(name) for name in request.metric_names}
        self.catalog.reload(request.config)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        for name, value in before.items():
            increase = self.metrics.value(name) - value
            response.metric.add(name=name, int64_value_increase=increase)
        return response

    def note(self, done: Answered, call: Call) -> None:
        """Puts a request that has been answered into the metrics and the log."""
        # Clients choose names, and each would stay in memory.
        model = done.model if done.model in self.catalog.models else ""
        self.metrics.answered(
            model, done.method, done.interface, done.code, done.seconds, call.runtime
        )
        if self._access_log is not None:
            self._access_log.write(
                **done._asdict(),
                signature=call.signature_name,
                runtime_seconds=round(call.runtime, 6),
            )

    def _leased(self, spec: model_pb2.ModelSpec, call: Call) -> Lease:
        """Returns the version for a request, for one that was parked the same again."""
        lease: Lease = call.lease or self.catalog.lease(spec)
        call.lease = lease
        return lease

    def _method(
        self,
        name: str,
        answer: _Answer,
        request_class: type[_Request],
        threads: futures.ThreadPoolExecutor | None,
    ) -> grpc.RpcMethodHandler:
        """Makes a gRPC method of a function that raises `ServingError`."""
        method = _Method(name, answer, request_class)
        # gRPC and `Threads` look for attributes of it, which no class of theirs has.
        handler: Any = functools.partial(self._handle, method)
        if threads is not None:
            handler.experimental_thread_pool = threads
            if self._access_log is None:  # which a thread may have to wait for
                handler.at_once = functools.partial(self._at_once, method)
        return grpc.unary_unary_rpc_method_handler(handler)

    def _handle(
        self, method: _Method, data: bytes, context: grpc.ServicerContext
    ) -> bytes:
        """Answers a request of gRPC's."""
        exchange = _Exchange(method, data, Call(_timeout(context)))
        return self._go_on(exchange, data, context)

    def _at_once(
        self,
        method: _Method,
        data: bytes,
        context: grpc.ServicerContext,
        resume: Callable[[_Handler], None],
    ) -> bytes | type[Parked] | None:
        """Answers a request, or says why not; see `kpg.export.serving.threads`."""
        exchange = _Exchange(method, data, Call(_timeout(context), may_wait=False))
        again = functools.partial(self._go_on, exchange)
        exchange.call.resume = functools.partial(resume, again)
        try:
            return self._go_on(exchange, data, context)
        except Parked:
            return Parked
        except Later:
            exchange.call.resume = None
            return None

    def _go_on(
        self, exchange: _Exchange, _: object, context: grpc.ServicerContext
    ) -> bytes:
        """Answers a request as far as it has not been."""
        method, call = exchange.method, exchange.call
        sent = error = None
        try:
            if exchange.request is None:
                # Not gRPC's `request_deserializer`: when it fails, 15 KB stay behind.
                exchange.request = _parsed(method.request_class, exchange.data)
            sent = method.answer(exchange.request, call).SerializeToString()
        except (Later, Parked):
            raise
        except Exception as caught:  # a client is answered whatever it was
            error = as_known(caught)
        # Both know the call: each request would leave a cycle behind.
        call.resume = call.task = None
        self.note(
            Answered(
                "GRPC",
                method.name,
                _model_of(exchange.request),
                "OK" if error is None else error.code,
                time.perf_counter() - exchange.started,
                peer=context.peer() if self._access_log is not None else "",
                received=len(exchange.data),
                sent=len(sent or b""),
            ),
            call,
        )
        if error is not None:
            _abort(context, error)
        return sent or b""


class _Method(NamedTuple):
    name: str
    answer: _Answer
    request_class: type[_Request]


class _Exchange:
    """A request of gRPC's on its way."""

    __slots__ = ("call", "data", "method", "request", "started")

    def __init__(self, method: _Method, data: bytes, call: Call) -> None:
        self.method, self.data, self.call = method, data, call
        self.started = time.perf_counter()
        self.request: _Request = None  # once it is parsed


def _timeout(context: grpc.ServicerContext) -> float | None:
    left = context.time_remaining()
    return left if left is not None and left < _ALWAYS else None


def as_known(error: Exception) -> ServingError:
    """Returns the error that a client is told; logs one that is a fault of kpg."""
    if isinstance(error, ServingError):
        return error
    _logger.error("A request failed", exc_info=error)
    return ServingError("INTERNAL", one_line(error))


def _parsed(request_class: type[_Request], data: bytes) -> _Request:
    try:
        return request_class.FromString(data)
    except DecodeError as error:
        name = request_class.DESCRIPTOR.full_name
        raise ServingError(
            "INTERNAL", f"The request cannot be parsed as a {name}: {error}"
        ) from error


def _spec(request: _Request) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return request.model_spec


def _complete(
    sent: model_pb2.ModelSpec, asked: model_pb2.ModelSpec, version: int
) -> None:
    sent.name = asked.name
    sent.version.value = version


def _model_of(request: _Request) -> str:
    if request is None:
        return ""
    if isinstance(request, inference_pb2.MultiInferenceRequest):
        return request.tasks[0].model_spec.name if request.tasks else ""
    spec = getattr(request, "model_spec", None)
    return spec.name if spec is not None else ""


def _abort(context: grpc.ServicerContext, error: ServingError) -> NoReturn:
    """Ends a request with an error. gRPC limits the bytes of a message."""
    message = error.message.encode()
    if len(message) > _LONGEST_MESSAGE:
        cut = message[:_LONGEST_MESSAGE].decode(errors="ignore")
        context.abort(_CODES[error.code], f"{cut}...TRUNCATED")
    context.abort(_CODES[error.code], error.message)
    raise AssertionError("abort() has returned")
