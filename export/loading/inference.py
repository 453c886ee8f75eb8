"""Classify, Regress and MultiInference, on serialised `tf.train.Example`s.

Reference: servables/tensorflow/{util,classifier,regressor,multi_inference}.cc in
tensorflow_serving, whose checks and words these are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    regression_pb2,
)

from kpg.export.loading.call import Call
from kpg.export.loading.prediction import CLASSIFY, REGRESS
from kpg.export.loading.servable import Loaded
from kpg.export.wire import names, tensors
from kpg.export.wire.errors import ServingError, invalid
from kpg.export.wire.tensors import SignatureDef
from kpg.types import Array

_Result: TypeAlias = (
    classification_pb2.ClassificationResult | regression_pb2.RegressionResult
)
_INPUT = "inputs"
_CLASSES, _SCORES, _VALUES = "classes", "scores", "outputs"


def classify(
    servable: Loaded, request: classification_pb2.ClassificationRequest, call: Call
) -> classification_pb2.ClassificationResponse:
    """Answers a ClassificationRequest."""
    response = classification_pb2.ClassificationResponse()
    _answer(servable, request, call, _CLASSIFICATION, response)
    return response


def regress(
    servable: Loaded, request: regression_pb2.RegressionRequest, call: Call
) -> regression_pb2.RegressionResponse:
    """Answers a RegressionRequest."""
    response = regression_pb2.RegressionResponse()
    _answer(servable, request, call, _REGRESSION, response)
    return response


def multi_inference(
    servable: Loaded, request: inference_pb2.MultiInferenceRequest, call: Call
) -> inference_pb2.MultiInferenceResponse:
    """Answers a MultiInferenceRequest by one run for all its tasks."""
    found = _tasks(servable, request)
    array = examples(request.input)
    feeds = {one.inputs[_INPUT].name: array for one, _ in found.values()}
    fetches = sorted(
        {info.name for one, _ in found.values() for info in one.outputs.values()}
    )
    fetched = servable.run_tensors(feeds, fetches, call)
    values = dict(zip(fetches, fetched, strict=True))
    response = inference_pb2.MultiInferenceResponse()
    for name, (signature, method) in found.items():
        outputs = {key: values[info.name] for key, info in signature.outputs.items()}
        result = response.results.add()
        result.model_spec.signature_name = name
        method.fill(outputs, len(array), getattr(result, f"{method.kind}_result"))
    return response


def examples(sent: input_pb2.Input) -> Array:
    """Returns the serialised examples of a request, each with the shared context."""
    kind = sent.WhichOneof("kind")
    inside = getattr(sent, kind) if kind else None
    if inside is None or not inside.examples:
        raise invalid("Input is empty.")
    context = b""
    if kind == "example_list_with_context":
        context = inside.context.SerializeToString()
    array = np.empty(len(inside.examples), object)
    array[:] = [context + one.SerializeToString() for one in inside.examples]
    return array


def _answer(
    servable: Loaded,
    request: (
        classification_pb2.ClassificationRequest | regression_pb2.RegressionRequest
    ),
    call: Call,
    method: _Method,
    response: (
        classification_pb2.ClassificationResponse | regression_pb2.RegressionResponse
    ),
) -> None:
    name = request.model_spec.signature_name or names.GREEDY
    signature = servable.signatures.get(name)
    if signature is None:
        raise invalid(f"No signature was found with the name: {name}")
    method.check(servable, signature)
    call.signature_name = name
    array = examples(request.input)
    outputs = servable.run(name, {_INPUT: array}, None, call)
    response.model_spec.signature_name = name
    method.fill(outputs, len(array), response.result)


def _tasks(
    servable: Loaded, request: inference_pb2.MultiInferenceRequest
) -> dict[str, tuple[SignatureDef, _Method]]:
    """Checks the tasks of a request, and returns what each signature is used for."""
    found: dict[str, tuple[SignatureDef, _Method]] = {}
    model = ""
    for task in request.tasks:
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        model = model or task.model_spec.name
        if task.model_spec.name != model:
            raise invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the same model "
                "name."
            )
        name = task.model_spec.signature_name or names.GREEDY
        if name in found:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        signature = servable.signatures.get(name)
        if signature is None:
            raise invalid(f"Requested signature not found in model graph: {name}")
        method = _METHODS.get(task.method_name)
        if method is None:
            raise ServingError(
                "UNIMPLEMENTED",
                f"Unsupported signature method_name: {task.method_name}",
            )
        method.check(servable, signature)
        found[name] = signature, method
    return found


class _Method(NamedTuple):
    """What Classify and Regress do differently."""

    kind: str
    name: str
    check_outputs: Callable[[SignatureDef], None]
    fill: Callable[[dict[str, Array], int, _Result], None]

    def check(self, servable: Loaded, signature: SignatureDef) -> None:
        """Refuses a signature that the method cannot use."""
        if servable.checks_method_names and signature.method_name != self.name:
            raise invalid(
                f"Expected {self.kind} signature method_name to be {self.name}. "
                f"Was: {signature.method_name}"
            )
        if len(signature.inputs) != 1:
            raise invalid("Expected one input Tensor.")
        self.check_outputs(signature)
        if signature.inputs[_INPUT].dtype != types_pb2.DT_STRING:
            kind = tensors.type_name(signature.inputs[_INPUT].dtype)
            raise invalid(f"Expects arg[0] to be {kind} but string is provided")


def _check_input(signature: SignatureDef, kind: str) -> None:
    if _INPUT not in signature.inputs:
        raise invalid(f"No {kind} inputs found in SignatureDef: {signature}")


def _check_classification(signature: SignatureDef) -> None:
    if len(signature.outputs) not in (1, 2):
        raise invalid(
            f"Expected one or two output Tensors, found {len(signature.outputs)}"
        )
    _check_input(signature, "classification")
    if _CLASSES not in signature.outputs and _SCORES not in signature.outputs:
        raise invalid(
            "Expected classification signature outputs to contain at least one of "
            f'"{_CLASSES}" or "{_SCORES}". Signature was: {signature}'
        )


def _check_regression(signature: SignatureDef) -> None:
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    _check_input(signature, "regression")
    if _VALUES not in signature.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {signature}")


def _fill_classification(outputs: dict[str, Array], rows: int, result: _Result) -> None:
    found = {name: outputs[name] for name in (_CLASSES, _SCORES) if name in outputs}
    for name, array in found.items():
        _check_scores(name, array, rows)
    classes, scores = found.get(_CLASSES), found.get(_SCORES)
    if classes is not None and scores is not None:
        if classes.shape[1] != scores.shape[1]:
            raise invalid(
                "Tensors class and score should match in dim_size(1). Got "
                f"{classes.shape[1]} vs. {scores.shape[1]}"
            )
    labels = None if classes is None else classes.tolist()
    numbers = None if scores is None else scores.tolist()
    width = next(iter(found.values())).shape[1]
    for row in range(rows):
        classifications = result.classifications.add()
        for column in range(width):
            one = classifications.classes.add()
            if labels is not None:
                one.label = labels[row][column].decode("utf-8", "replace")
            if numbers is not None:
                one.score = numbers[row][column]


def _check_scores(name: str, array: Array, rows: int) -> None:
    if array.ndim != 2:
        raise invalid(
            f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}"
        )
    _check_type(array, "DT_STRING" if name == _CLASSES else "DT_FLOAT", name)
    if len(array) != rows:
        raise invalid(f"Expected {name} output batch size of {rows}. Got: {len(array)}")


def _check_type(array: Array, wanted: str, name: str) -> None:
    got = types_pb2.DataType.Name(tensors.kind_of(array).number)
    if got != wanted:
        space = "  " if name == "output" else " "
        raise invalid(f"Expected {name} Tensor of {wanted}.{space}Got: {got}")


def _fill_regression(outputs: dict[str, Array], rows: int, result: _Result) -> None:
    array = outputs[_VALUES]
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or "
            f"[batch_size, 1] but got {_shape(array)}"
        )
    if len(array) != rows:
        raise invalid(
            f"Input batch size did not match output batch size: {rows} vs. {len(array)}"
        )
    _check_type(array, "DT_FLOAT", "output")
    for value in array.reshape(-1).tolist():
        result.regressions.add(value=value)


def _shape(array: Array) -> str:
    return "[" + ",".join(str(size) for size in array.shape) + "]"


_CLASSIFICATION = _Method(
    "classification", CLASSIFY, _check_classification, _fill_classification
)
_REGRESSION = _Method("regression", REGRESS, _check_regression, _fill_regression)
_METHODS = {CLASSIFY: _CLASSIFICATION, REGRESS: _REGRESSION}
