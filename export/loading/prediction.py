"""Predict with the checks and words of tensorflow_serving's predict_util.cc."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tensorflow_serving.apis import predict_pb2

from kpg.export.loading.call import Call
from kpg.export.loading.servable import Loaded, Plan, tensor_name
from kpg.export.wire import names, tensors
from kpg.export.wire.errors import ServingError, invalid
from kpg.export.wire.tensors import SignatureDef, TensorProto
from kpg.types import Array

PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


def predict(
    servable: Loaded,
    request: predict_pb2.PredictRequest,
    call: Call | None = None,
    *,
    as_content: bool = False,
) -> predict_pb2.PredictResponse:
    """Answers a PredictRequest; of its `model_spec` only the signature counts.

    `as_content` writes the outputs as bytes, the fastest form, which not all clients
    read.
    """
    call = call or Call()
    name, signature = find_signature(servable, request.model_spec.signature_name)
    call.signature_name = name
    inputs = _read_inputs(request.inputs, signature, servable.plans[name])
    wanted = _check_filter(request.output_filter, signature)
    outputs = run(servable, name, inputs, wanted, call)
    response = predict_pb2.PredictResponse()
    response.model_spec.signature_name = name
    encode = tensors.encode_content if as_content else tensors.encode
    kinds, filled = servable.plans[name].outputs, response.outputs
    for key, array in outputs.items():
        encode(array, filled[key], kinds[key])
    return response


def find_signature(servable: Loaded, name: str) -> tuple[str, SignatureDef]:
    """Returns a signature that Predict may use, and its name, which may be left out."""
    name = name or names.GREEDY
    signature = servable.signatures.get(name)
    if signature is None:
        raise ServingError(
            "FAILED_PRECONDITION", f'Serving signature key "{name}" not found.'
        )
    methods = (PREDICT, CLASSIFY, REGRESS)
    if servable.checks_method_names and signature.method_name not in methods:
        raise ServingError(
            "INTERNAL",
            "Expected prediction signature method_name to be one of {"
            f"{', '.join(methods)}}}. Was: {signature.method_name}",
        )
    return name, signature


def run(
    servable: Loaded,
    name: str,
    inputs: Mapping[str, Array],
    wanted: list[str] | None,
    call: Call,
) -> dict[str, Array]:
    """Runs a signature on arrays whose data types are checked here."""
    _check_dtypes(inputs, servable.plans[name])
    return servable.run(name, inputs, wanted, call)


def _read_inputs(
    sent: Mapping[str, TensorProto], signature: SignatureDef, plan: Plan
) -> dict[str, Array]:
    """Checks the names of a request's inputs, and decodes them."""
    if len(sent) == len(plan.inputs) and all(name in sent for name in plan.inputs):
        return {name: _decode(name, sent[name]) for name in plan.inputs}
    defaults = signature.defaults
    if len(sent) > len(signature.inputs) or (
        len(sent) < len(signature.inputs) and not defaults
    ):
        got, expected = set(sent), set(signature.inputs)
        raise invalid(
            f"input size does not match signature: {len(got)}!={len(expected)} "
            f"len({_braced(got)}) != len({_braced(expected)}). "
            f"Sent extra: {_braced(got - expected)}. "
            f"Missing but required: {_braced(expected - got)}."
        )
    inputs = {}
    for name in sorted(signature.inputs):
        if name not in sent and name not in defaults:
            feed = tensor_name(signature.inputs[name])
            raise invalid(
                f"Signature input alias: {name}(feed name: {feed}) not found in "
                "request and no default value provided. Inputs expected to be in the "
                f"request {_braced(sent)}, or default input alias set: "
                f"{','.join(sorted(defaults))}"
            )
        inputs[name] = _decode(name, sent[name] if name in sent else defaults[name])
    extra = [name for name in sent if name not in inputs]
    if extra:
        used = ",".join(sorted(name for name in sent if name in inputs))
        raise invalid(
            f"Inputs contains invalid name. Used request inputs: {used}, "
            f"request input: {','.join(sorted(sent))}"
        )
    return inputs


def _decode(name: str, tensor: TensorProto) -> Array:
    try:
        return tensors.decode(tensor)
    except tensors.TooLarge as error:
        raise invalid(f"tensor parsing error: {name}. {error}") from error
    except ValueError as error:
        raise invalid(f"tensor parsing error: {name}") from error


def _check_filter(wanted: Iterable[str], signature: SignatureDef) -> list[str] | None:
    """Returns the requested outputs, in the order of the request; None for all."""
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
    return seen or None


def _check_dtypes(inputs: Mapping[str, Array], plan: Plan) -> None:
    """Raises Session::Run's error; that of the faster callable has other words."""
    for index, (name, expected) in enumerate(plan.inputs.items()):
        array = inputs[name]
        got = tensors.kind_of(array)
        if got.number != expected:
            raise invalid(
                f"Expects arg[{index}] to be {tensors.type_name(expected)} but "
                f"{got.name} is provided"
            )


def _braced(keys: Iterable[str]) -> str:
    return "{" + ",".join(sorted(keys)) + "}"
