"""Classify, Regress and MultiInference on a loaded version, in and out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    regression_pb2,
)

from kpg.export import ServingError
from kpg.export.loading import inference
from kpg.export.loading.call import Call
from kpg.export.loading.servable import Loading, Servable
from tests.served_models import CLASSIFY, REGRESS, examples, publish


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("half"))


@pytest.fixture(scope="module")
def servable(path: Path) -> Iterator[Servable]:
    loaded = Servable(path)
    yield loaded
    loaded.close()


def classify(servable: Any, signature: str, sent: Any) -> Any:
    request = classification_pb2.ClassificationRequest(input=sent)
    request.model_spec.signature_name = signature
    return inference.classify(servable, request, Call())


def regress(servable: Any, signature: str, sent: Any) -> Any:
    request = regression_pb2.RegressionRequest(input=sent)
    request.model_spec.signature_name = signature
    return inference.regress(servable, request, Call())


def infer(servable: Any, *tasks: tuple[str, str, str], sent: Any = None) -> Any:
    """Asks for tasks: the model, the signature and the method of each."""
    request = inference_pb2.MultiInferenceRequest(input=sent or examples(2.0))
    for model, signature, method in tasks:
        task = request.tasks.add(method_name=method)
        task.model_spec.name = model
        task.model_spec.signature_name = signature
    return inference.multi_inference(servable, request, Call())


def test_classify(servable: Servable) -> None:
    response = classify(servable, "classify_x_to_y", examples(2.0, 4.0))
    assert response.model_spec.signature_name == "classify_x_to_y"
    rows = response.result.classifications
    assert [[(one.label, one.score) for one in row.classes] for row in rows] == [
        [("", 3.0)],
        [("", 4.0)],
    ]
    (row,) = classify(servable, "label", examples(2.0)).result.classifications
    assert (row.classes[0].label, row.classes[0].score) == ("3.0", 3.0)


def test_regress(servable: Servable) -> None:
    result = regress(servable, "regress_x_to_y", examples(2.0, 4.0)).result
    assert [one.value for one in result.regressions] == [3.0, 4.0]


def test_the_context_is_part_of_every_example(servable: Servable) -> None:
    sent = input_pb2.Input()
    both = sent.example_list_with_context
    both.context.features.feature["x"].float_list.value.append(8.0)
    both.examples.add()
    own = both.examples.add()
    own.features.feature["x"].float_list.value.append(2.0)
    result = regress(servable, "regress_x_to_y", sent).result
    assert [one.value for one in result.regressions] == [6.0, 3.0]


def test_multi_inference(servable: Servable) -> None:
    response = infer(
        servable, ("m", "regress_x_to_y", REGRESS), ("m", "classify_x_to_y", CLASSIFY)
    )
    first, second = response.results
    assert first.regression_result.regressions[0].value == 3.0
    assert second.classification_result.classifications[0].classes[0].score == 3.0
    assert first.model_spec.signature_name == "regress_x_to_y"


REFUSALS: dict[str, tuple[Any, str, str]] = {
    "no signature": (
        lambda one: classify(one, "zz", examples(1.0)),
        "INVALID_ARGUMENT",
        "No signature was found with the name: zz",
    ),
    "no signature to regress": (
        lambda one: regress(one, "zz", examples(1.0)),
        "INVALID_ARGUMENT",
        "No signature was found with the name: zz",
    ),
    "no input": (
        lambda one: classify(one, "classify_x_to_y", input_pb2.Input()),
        "INVALID_ARGUMENT",
        "Input is empty.",
    ),
    "an empty list": (
        lambda one: regress(one, "regress_x_to_y", examples()),
        "INVALID_ARGUMENT",
        "Input is empty.",
    ),
    "two inputs": (
        lambda one: classify(one, "both", examples(1.0)),
        "INVALID_ARGUMENT",
        "Expected one input Tensor.",
    ),
    "many outputs": (
        lambda one: classify(one, "types", examples(1.0)),
        "INVALID_ARGUMENT",
        "Expected one or two output Tensors, found 10",
    ),
    "two outputs": (
        lambda one: regress(one, "label", examples(1.0)),
        "INVALID_ARGUMENT",
        "Expected one output Tensor.",
    ),
    "no such input": (
        lambda one: classify(one, "serving_default", examples(1.0)),
        "INVALID_ARGUMENT",
        "No classification inputs found in SignatureDef: inputs {",
    ),
    "no such output": (
        lambda one: classify(one, "regress_x_to_y", examples(1.0)),
        "INVALID_ARGUMENT",
        "Expected classification signature outputs to contain at least one of "
        '"classes" or "scores". Signature was: ',
    ),
    "no output to regress": (
        lambda one: regress(one, "classify_x_to_y", examples(1.0)),
        "INVALID_ARGUMENT",
        "No regression outputs found in SignatureDef: ",
    ),
    "a number for all rows": (
        lambda one: regress(one, "sums", examples(1.0)),
        "INVALID_ARGUMENT",
        "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
        "but got []",
    ),
    "no model": (
        lambda one: infer(one, ("", "label", CLASSIFY)),
        "INVALID_ARGUMENT",
        "Found ModelSpec with an empty model name.",
    ),
    "two models": (
        lambda one: infer(one, ("m", "label", CLASSIFY), ("n", "label", CLASSIFY)),
        "INVALID_ARGUMENT",
        "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
    ),
    "the same twice": (
        lambda one: infer(one, ("m", "label", CLASSIFY), ("m", "label", CLASSIFY)),
        "INVALID_ARGUMENT",
        "Duplicate evaluation of signature: label",
    ),
    "no signature of many": (
        lambda one: infer(one, ("m", "zz", CLASSIFY)),
        "INVALID_ARGUMENT",
        "Requested signature not found in model graph: zz",
    ),
    "another method": (
        lambda one: infer(one, ("m", "label", "x")),
        "UNIMPLEMENTED",
        "Unsupported signature method_name: x",
    ),
}


@pytest.mark.parametrize(
    ("ask", "code", "words"), REFUSALS.values(), ids=REFUSALS.keys()
)
def test_refusals(servable: Servable, ask: Any, code: str, words: str) -> None:
    with pytest.raises(ServingError) as caught:
        ask(servable)
    assert caught.value.code == code
    message = caught.value.message
    assert message.startswith(words) if words[-1] in "{ " else message == words


class Made:
    """A version of one signature that always answers the same."""

    path = ""
    checks_method_names = False

    def __init__(self, signature: Any, **outputs: Any) -> None:
        self.signatures = {"serving_default": signature}
        self.outputs = outputs

    def run(self, *arguments: Any) -> Any:
        return self.outputs


SCORES = np.zeros((2, 3), np.float32)
LABELS = np.full((2, 3), b"x", object)
UNFIT: dict[str, tuple[Any, str, int, dict[str, Any], str]] = {
    "scores without classes": (
        classify,
        "classify_x_to_y",
        2,
        {"scores": SCORES[0]},
        "Expected Tensor shape: [batch_size num_classes] but got [3]",
    ),
    "double scores": (
        classify,
        "classify_x_to_y",
        2,
        {"scores": SCORES.astype(np.float64)},
        "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE",
    ),
    "classes that are numbers": (
        classify,
        "label",
        2,
        {"classes": SCORES, "scores": SCORES},
        "Expected classes Tensor of DT_STRING. Got: DT_FLOAT",
    ),
    "too many rows": (
        classify,
        "classify_x_to_y",
        1,
        {"scores": SCORES},
        "Expected scores output batch size of 1. Got: 2",
    ),
    "more classes than scores": (
        classify,
        "label",
        2,
        {"classes": LABELS, "scores": SCORES[:, :2]},
        "Tensors class and score should match in dim_size(1). Got 3 vs. 2",
    ),
    "too many values": (
        regress,
        "regress_x_to_y",
        1,
        {"outputs": SCORES[:, 0]},
        "Input batch size did not match output batch size: 1 vs. 2",
    ),
    "whole values": (
        regress,
        "regress_x_to_y",
        2,
        {"outputs": SCORES[:, 0].astype(np.int64)},
        "Expected output Tensor of DT_FLOAT.  Got: DT_INT64",
    ),
}


@pytest.mark.parametrize(
    ("ask", "signature", "rows", "outputs", "words"), UNFIT.values(), ids=UNFIT.keys()
)
def test_outputs_of_another_form_or_type(
    servable: Servable,
    ask: Any,
    signature: str,
    rows: int,
    outputs: dict[str, Any],
    words: str,
) -> None:
    made = Made(servable.signatures[signature], **outputs)
    with pytest.raises(ServingError) as caught:
        ask(made, "", examples(*range(rows)))
    assert (caught.value.code, caught.value.message) == ("INVALID_ARGUMENT", words)


def test_method_names_are_checked_only_if_wanted(path: Path) -> None:
    strict = Servable(path, Loading(checks_method_names=True))
    for call, kind, name in (
        (classify, "classification", CLASSIFY),
        (regress, "regression", REGRESS),
    ):
        with pytest.raises(ServingError) as caught:
            call(strict, "label", examples(1.0))
        assert caught.value.message == (
            f"Expected {kind} signature method_name to be {name}. "
            "Was: tensorflow/serving/predict"
        )
    strict.close()
