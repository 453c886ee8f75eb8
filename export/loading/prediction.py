"""Predict with the checks and words of tensorflow_serving's predict_util.cc."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tensorflow_serving.apis import predict_pb2

from kpg.export.loading.servable import Servable, tensor_name
from kpg.export.wire import names, tensors
from kpg.export.wire.errors import ServingError, invalid
from kpg.export.wire.tensors import SignatureDef, TensorProto
from kpg.types import Array


def predict(
    servable: Servable, request: predict_pb2.PredictRequest
) -> predict_pb2.PredictResponse:
    """Answers a PredictRequest; of its `model_spec` only the signature counts."""
    name = request.model_spec.signature_name or names.GREEDY
    signature = servable.signatures.get(name)
    if signature is None:
        raise ServingError(
            "FAILED_PRECONDITION", f'Serving signature key "{name}" not found.'
        )
    inputs = _read_inputs(request.inputs, signature)
    wanted = _check_filter(request.output_filter, signature)
    _check_dtypes(inputs, signature)
    outputs = servable.run(name, inputs, wanted or sorted(signature.outputs))
    response = predict_pb2.PredictResponse()
    response.model_spec.signature_name = name
    for key, array in outputs.items():
        tensors.encode(array, response.outputs[key])
    return response


def _read_inputs(
    sent: Mapping[str, TensorProto], signature: SignatureDef
) -> dict[str, Array]:
    """Checks the names of a request's inputs, and decodes them."""
    if len(sent) != len(signature.inputs):
        got, expected = set(sent), set(signature.inputs)
        raise invalid(
            f"input size does not match signature: {len(got)}!={len(expected)} "
            f"len({_braced(got)}) != len({_braced(expected)}). "
            f"Sent extra: {_braced(got - expected)}. "
            f"Missing but required: {_braced(expected - got)}."
        )
    for name in sorted(signature.inputs):
        if name not in sent:
            feed = tensor_name(signature.inputs[name])
            raise invalid(
                f"Signature input alias: {name}(feed name: {feed}) not found in "
                "request and no default value provided. Inputs expected to be in the "
                f"request {_braced(sent)}, or default input alias set: "
            )
    inputs = {}
    for name in sorted(signature.inputs):
        try:
            inputs[name] = tensors.decode(sent[name])
        except ValueError as error:
            raise invalid(f"tensor parsing error: {name}") from error
    return inputs


def _check_filter(wanted: Iterable[str], signature: SignatureDef) -> list[str]:
    """Returns the requested outputs, in the order of the request."""
    seen: list[str] = []
    for name in wanted:
        if name not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected "
                f"to be in the set {_braced(signature.outputs)}."
            )
        if name in seen:
            raise invalid(f"duplicate output tensor alias: {name}")
        seen.append(name)
    return seen


def _check_dtypes(inputs: dict[str, Array], signature: SignatureDef) -> None:
    """Raises Session::Run's error; that of the faster callable has other words."""
    for index, (name, array) in enumerate(inputs.items()):
        expected = signature.inputs[name].dtype
        got = tensors.kind_of(array)
        if got.number != expected:
            raise invalid(
                f"Expects arg[{index}] to be {tensors.type_name(expected)} but "
                f"{got.name} is provided"
            )


def _braced(keys: Iterable[str]) -> str:
    return "{" + ",".join(sorted(keys)) + "}"
