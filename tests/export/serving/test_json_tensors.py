"""JSON to arrays and back, by the cases of TensorFlow Serving's unit tests."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from kpg.export import ServingError
from kpg.export.serving import json_tensors, json_values


def signature(**inputs: str) -> Any:
    made = meta_graph_pb2.SignatureDef()
    for name, kind in inputs.items():
        made.inputs[name].dtype = tf.as_dtype(kind).as_datatype_enum
    return made


def read(text: str, **inputs: str) -> dict[str, Any]:
    document = json_values.parse(text.encode())
    arrays, _ = json_tensors.read_predict(
        document, signature(**inputs or {"x": "int32"})
    )
    return {name: array.tolist() for name, array in arrays.items()}


def words(text: str, **inputs: str) -> str:
    with pytest.raises(ServingError) as caught:
        read(text, **inputs)
    return caught.value.message


READ: dict[str, tuple[str, dict[str, str], Any]] = {
    "one row of one": ('{"instances": [1]}', {"x": "int32"}, {"x": [1]}),
    "rows": (
        '{"instances": [[1, 2], [3, 4]]}',
        {"x": "int32"},
        {"x": [[1, 2], [3, 4]]},
    ),
    "rows of empty lists": ('{"instances": [[], []]}', {"x": "float"}, {"x": [[], []]}),
    "rows of matrices": (
        '{"instances": [[[1], [2]], [[3], [4]]]}',
        {"x": "int64"},
        {"x": [[[1], [2]], [[3], [4]]]},
    ),
    "named rows": (
        '{"instances": [{"a": 1, "b": "x"}, {"b": "y", "a": 2}]}',
        {"a": "int32", "b": "string"},
        {"a": [1, 2], "b": [b"x", b"y"]},
    ),
    "named lists": (
        '{"instances": [{"a": [1, 2], "b": [[0.5]]}]}',
        {"a": "int32", "b": "float"},
        {"a": [[1, 2]], "b": [[[0.5]]]},
    ),
    "binary rows": (
        '{"instances": [{"b64": "AQI="}, "x"]}',
        {"x": "string"},
        {"x": [b"\x01\x02", b"x"]},
    ),
    "lists of binary": (
        '{"instances": [[{"b64": "AQI="}, {"b64": "/w=="}], ["a", {"b64": ""}]]}',
        {"x": "string"},
        {"x": [[b"\x01\x02", b"\xff"], [b"a", b""]]},
    ),
    "named binary": (
        '{"instances": [{"x": {"b64": ""}}, {"x": "é"}]}',
        {"x": "string"},
        {"x": [b"", "é".encode()]},
    ),
    "a column": ('{"inputs": [[1], [2]]}', {"x": "int32"}, {"x": [[1], [2]]}),
    "a scalar": ('{"inputs": 3}', {"x": "int32"}, {"x": 3}),
    "columns": (
        '{"inputs": {"a": [1], "b": "x"}}',
        {"a": "int32", "b": "string"},
        {"a": [1], "b": b"x"},
    ),
    "a binary column": ('{"inputs": {"b64": "AQ=="}}', {"x": "string"}, {"x": b"\x01"}),
    "more than is asked for": (
        '{"inputs": {"x": 1, "y": 2}, "other": 3}',
        {"x": "int32"},
        {"x": 1},
    ),
    "whole floats": ('{"instances": [1, 2.5]}', {"x": "float"}, {"x": [1.0, 2.5]}),
    "doubles": ('{"instances": [1e300]}', {"x": "double"}, {"x": [1e300]}),
    "no numbers": (
        '{"instances": [Infinity, -Infinity]}',
        {"x": "float"},
        {"x": [float("inf"), float("-inf")]},
    ),
    "more digits than a float has": (
        '{"instances": [1435774380, 1435774380.0]}',
        {"x": "float"},
        {"x": [1435774336.0, 1435774336.0]},
    ),
    "more than a float holds": (
        '{"instances": [1.7976931348623157e308, -1.7976931348623157e308]}',
        {"x": "float"},
        {"x": [float("inf"), float("-inf")]},
    ),
    "less than a float holds": (
        '{"instances": [2.2250738585072014e-308]}',
        {"x": "float"},
        {"x": [0.0]},
    ),
    "truths": ('{"instances": [true, false]}', {"x": "bool"}, {"x": [True, False]}),
    "small integers": ('{"instances": [-1]}', {"x": "int8"}, {"x": [-1]}),
    "too large for bytes": ('{"instances": [300]}', {"x": "uint8"}, {"x": [44]}),
    "large integers": (
        f'{{"instances": [{2**64 - 1}]}}',
        {"x": "uint64"},
        {"x": [2**64 - 1]},
    ),
    "a signature": (
        '{"signature_name": "s", "instances": [1]}',
        {"x": "int32"},
        {"x": [1]},
    ),
}


@pytest.mark.parametrize(("text", "inputs", "wanted"), READ.values(), ids=READ.keys())
def test_requests(text: str, inputs: dict[str, str], wanted: Any) -> None:
    assert read(text, **inputs) == wanted


AT_0 = "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
AT_1 = AT_0.replace("0", "1")
REFUSED: dict[str, tuple[str, dict[str, str], str]] = {
    "no key": ("{}", {}, "Missing 'inputs' or 'instances' key"),
    "both keys": (
        '{"instances": [1], "inputs": [1]}',
        {},
        'JSON Value: {"instances": [1], "inputs": [1]} Not formatted correctly '
        "expecting only one of 'inputs' or 'instances' keys to exist ",
    ),
    "no list of rows": (
        '{"instances": {"x": 1}}',
        {},
        'JSON Value: {"instances": {"x": 1}} Expecting \'instances\' to be an '
        "list/array",
    ),
    "no rows": (
        '{"instances": []}',
        {},
        "JSON Value: {\"instances\": []} No values in 'instances' array",
    ),
    "a text for a number": (
        '{"instances": ["a"]}',
        {},
        f'{AT_0}JSON Value: "a" Type: String is not of expected type: int32',
    ),
    "a truth for a number": (
        '{"instances": [true]}',
        {},
        f"{AT_0}JSON Value: true Type: True is not of expected type: int32",
    ),
    "nothing for a number": (
        '{"instances": [null]}',
        {"x": "float"},
        f"{AT_0}JSON Value: null Type: Null is not of expected type: float",
    ),
    "a fraction": (
        '{"instances": [1.5]}',
        {},
        f"{AT_0}JSON Value: 1.5 Type: Number is not of expected type: int32",
    ),
    "a number for a text": (
        '{"instances": [1]}',
        {"x": "string"},
        f"{AT_0}JSON Value: 1 Type: Number is not of expected type: string",
    ),
    "a number for a truth": (
        '{"instances": [1]}',
        {"x": "bool"},
        f"{AT_0}JSON Value: 1 Type: Number is not of expected type: bool",
    ),
    "bytes for a number": (
        '{"instances": [{"b64": "AQ=="}]}',
        {},
        f'{AT_0}JSON Value: {{"b64": "AQ=="}} Type: Object is not of expected type: '
        "int32",
    ),
    "too large": (
        f'{{"instances": [{2**31}]}}',
        {},
        f"{AT_0}JSON Value: {2**31} Type: Number is not of expected type: int32",
    ),
    "below zero": (
        '{"instances": [-1]}',
        {"x": "uint32"},
        f"{AT_0}JSON Value: -1 Type: Number is not of expected type: uint32",
    ),
    "a larger number than any": (
        f'{{"instances": [1{"0" * 400}]}}',
        {"x": "float"},
        f"{AT_0}JSON Value: 1",
    ),
    "longer rows": (
        '{"instances": [[1], [1, 2]]}',
        {},
        f"{AT_1}Expecting tensor size: 1 but got: 2",
    ),
    "rows of another shape": (
        '{"instances": [[[1, 2]], [[1], [2]]]}',
        {},
        f"{AT_1}Expecting shape [1,2] but got: [2,1]",
    ),
    "a list among values": (
        '{"instances": [1, [1]]}',
        {},
        f"{AT_1}Expecting shape [] but got: [1]",
    ),
    "named rows of another shape": (
        '{"instances": [{"a": [[1]], "b": "x"}, {"a": [[[1]]], "b": "y"}]}',
        {"a": "int32", "b": "string"},
        "Failed to process element: 1 key: a of 'instances' list. Error: "
        "INVALID_ARGUMENT: Expecting shape [1,1] but got: [1,1,1]",
    ),
    "longer named rows": (
        '{"instances": [{"a": [1], "b": "x"}, {"b": "y", "a": [1, 2]}]}',
        {"a": "int32", "b": "string"},
        "Failed to process element: 1 key: a of 'instances' list. Error: "
        "INVALID_ARGUMENT: Expecting tensor size: 1 but got: 2",
    ),
    "a ragged row": (
        '{"instances": [[[1, 2], [3]]]}',
        {},
        f"{AT_0}Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    ),
    "a list among numbers": (
        '{"instances": [[1, [2]]]}',
        {},
        f"{AT_0}Encountered list at unexpected level: 1 expected < 1",
    ),
    "a number among lists": (
        '{"instances": [[[1], 2]]}',
        {},
        f"{AT_0}JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at "
        "level: 2",
    ),
    "an object among values": (
        '{"instances": [1, {"x": 1}]}',
        {},
        "Expecting value/list but got object at item 1 of input list",
    ),
    "a value among objects": (
        '{"instances": [{"x": 1}, 1]}',
        {},
        "Expecting object but got list at item 1 of input list",
    ),
    "another name": (
        '{"instances": [{"y": 1}]}',
        {},
        "Failed to process element: 0 key: y of 'instances' list. Error: "
        "INVALID_ARGUMENT: JSON object: does not have named input: y",
    ),
    "a name too few": (
        '{"instances": [{"a": 1}]}',
        {"a": "int32", "b": "int32"},
        "Failed to process element: 0 of 'instances' list. JSON object: "
        '{"a": 1} keys must be equal to: a,b',
    ),
    "rows without names": (
        '{"instances": [1]}',
        {"a": "int32", "b": "int32"},
        "instances is a plain list, but expecting list of objects as multiple input "
        "tensors required as per tensorinfo_map",
    ),
    "columns without names": (
        '{"inputs": [1]}',
        {"a": "int32", "b": "int32"},
        "inputs is a plain value/list, but expecting an object as multiple input "
        "tensors required as per tensorinfo_map",
    ),
    "a column too few": (
        '{"inputs": {"a": 1}}',
        {"a": "int32", "b": "int32"},
        "Missing named input: b in 'inputs' object.",
    ),
    "no base64": (
        '{"inputs": {"x": {"b64": "?"}}}',
        {"x": "string"},
        "Unable to base64 decode",
    ),
    "an object that is no base64": (
        '{"inputs": {"x": {"b65": "AQ=="}}}',
        {"x": "string"},
        'JSON Value: {"b65": "AQ=="} not formatted correctly for base64 data',
    ),
    "a type that JSON does not have": (
        '{"inputs": [1]}',
        {"x": "half"},
        "Conversion of JSON Value: 1 to type: half",
    ),
    "a type that nobody has": (
        '{"inputs": [1]}',
        {"x": "resource"},
        "JSON Value: [1] cannot become a tensor of type 20 with 1 dimensions",
    ),
}


@pytest.mark.parametrize(
    ("text", "inputs", "wanted"), REFUSED.values(), ids=REFUSED.keys()
)
def test_refused_requests(text: str, inputs: dict[str, str], wanted: str) -> None:
    got = words(text, **inputs)
    assert got.startswith(wanted) if wanted[-1] in " 1" else got == wanted


def test_a_signature_without_inputs() -> None:
    with pytest.raises(ServingError, match="input map for signature: DEFAULT"):
        json_tensors.read_predict({"inputs": [1]}, signature())


def written(by_rows: bool, **outputs: Any) -> Any:
    made = {name: np.asarray(value) for name, value in outputs.items()}
    return json.loads(json_values.dumps(json_tensors.write_predict(made, by_rows)))


def test_answers_by_rows() -> None:
    x = np.array([[0.2, 3.0], [1e-7, 9e6]], np.float32)
    assert written(True, x=x) == {"predictions": [[0.2, 3.0], [1e-7, 9e6]]}
    assert written(True, x=[1, 2], y=[True, False]) == {
        "predictions": [{"x": 1, "y": True}, {"x": 2, "y": False}]
    }
    assert written(True, x=np.zeros((0, 2))) == {"predictions": []}
    empty = {"x": np.zeros((0, 1, 2)), "y": np.zeros((0, 3))}
    assert written(True, **empty) == {"predictions": []}
    with pytest.raises(ServingError, match="Tensor name: x has no shape information "):
        written(True, x=1)
    wrong = "Tensor name: y has inconsistent batch size: 1 expecting: 2"
    with pytest.raises(ServingError, match=wrong):
        written(True, x=[1, 2], y=[1])
    with pytest.raises(ServingError, match=wrong.replace("1 ex", "0 ex")):
        written(True, x=[1, 2], y=[])


def test_answers_by_columns() -> None:
    assert written(False, x=[1, 2]) == {"outputs": [1, 2]}
    assert written(False, x=1.5) == {"outputs": 1.5}
    assert written(False, x=[1, 2], y=0) == {"outputs": {"x": [1, 2], "y": 0}}
    with pytest.raises(ServingError, match="Cannot convert empty tensor map to JSON"):
        written(False)


def test_texts_and_bytes() -> None:
    texts = np.array([b"a", "é".encode()], object)
    assert written(True, x=texts) == {"predictions": ["a", "é"]}
    assert written(True, x_bytes=texts[:1]) == {"predictions": [{"b64": "YQ=="}]}
    raw = {"x": np.array([b"\xff"], object)}
    assert json_values.dumps(json_tensors.write_predict(raw, False)) == (
        b'{"outputs":["\xff"]}'
    )


def test_whole_and_strange_floats() -> None:
    values = np.array([2.0, np.nan, np.inf, -np.inf], np.float32)
    text = json_values.dumps(json_tensors.write_predict({"x": values}, False))
    assert text == b'{"outputs":[2.0,NaN,Infinity,-Infinity]}'


@pytest.mark.parametrize("kind", ["half", "bfloat16", "complex64", "uint16"])
def test_types_that_json_does_not_have(kind: str) -> None:
    array = np.ones(1, tf.as_dtype(kind).as_numpy_dtype)
    with pytest.raises(ServingError, match=f"JSON value for tensor type: {kind}"):
        json_tensors.write_predict({"x": array}, True)
