"""What a client makes of observations: named, cast, completed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tensorflow_serving.apis import get_model_metadata_pb2

from kpg.export.client import inputs
from kpg.export.client.inputs import ArraySpec

FLOATS = ArraySpec("float", (None, 2))
STATE = ArraySpec("float", (None, 3))
SEED = ArraySpec("int32", (2,))
PLAIN = {"observation": FLOATS}
NESTED = {"observation_a": FLOATS, "observation_b_0": ArraySpec("string", (None,))}
ROWS = [[0.5, 1.0], [2.0, 3.0]]


@pytest.mark.parametrize(
    ("observations", "wanted"),
    [
        (ROWS, PLAIN),
        ({"observation": ROWS}, PLAIN),
        (ROWS, {"x": FLOATS}),
        (ROWS, {}),
    ],
)
def test_one_input(observations: Any, wanted: Any) -> None:
    named = inputs.named(observations, None, None, wanted)
    assert list(named) == list(wanted or PLAIN)
    (array,) = named.values()
    np.testing.assert_array_equal(array, ROWS)
    assert array.dtype == (np.float32 if wanted else np.float64)


@pytest.mark.parametrize(
    "observations",
    [
        {"a": ROWS, "b": (("x", "y"),)},
        {"observation_a": ROWS, "observation_b_0": ["x", "y"]},
    ],
)
def test_a_nest(observations: Any) -> None:
    named = inputs.named(observations, None, None, NESTED)
    np.testing.assert_array_equal(named["observation_a"], ROWS)
    assert list(named["observation_b_0"]) == ["x", "y"]


def test_a_state_is_completed_with_zeros() -> None:
    wanted = {**PLAIN, "state_0": STATE, "state_1": STATE}
    named = inputs.named(ROWS, {"state_1": np.ones((2, 3))}, None, wanted)
    np.testing.assert_array_equal(named["state_0"], np.zeros((2, 3)))
    np.testing.assert_array_equal(named["state_1"], np.ones((2, 3)))
    assert {array.dtype for array in named.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(("seed", "pair"), [(7, [7, 0]), ([7, 8], [7, 8])])
def test_a_seed(seed: Any, pair: list[int]) -> None:
    named = inputs.named(ROWS, None, seed, {**PLAIN, "seed": SEED})
    assert named["seed"].dtype == np.int32 and named["seed"].tolist() == pair


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([0.5], "int32"), ([300], "uint8"), ([-1], "uint64"), ([np.nan], "int64")],
)
def test_a_cast_that_would_lose(values: Any, dtype: str) -> None:
    wanted = {"x": ArraySpec(dtype, (None,))}
    with pytest.raises(ValueError, match=f"Input x must hold values of {dtype}"):
        inputs.named(values, None, None, wanted)
    rounded = inputs.named([1 / 3], None, None, {"x": ArraySpec("float", (None,))})
    assert rounded["x"].dtype == np.float32


def test_what_is_no_number_is_left_to_the_server() -> None:
    named = inputs.named(["left"], None, None, {"x": ArraySpec("float", (None,))})
    assert named["x"].tolist() == ["left"]


def test_what_is_asked_of_a_language_policy() -> None:
    default = inputs.asked(["a", "b\0"], None, None, 3, False)
    assert default["prompts"].tolist() == [b"a", b"b\0"]
    assert (default["max_new_tokens"], default["temperature"]) == (-1, -1.0)
    own = inputs.asked([], 5, 0.5, 3, True)
    assert (own["max_new_tokens"], own["temperature"]) == (5, 0.5)
    assert own["deterministic"] is True and own["seed"] == 3
    prompts: Any
    for prompts in ("a", [b"a"], [1]):
        with pytest.raises(ValueError, match="must be a list of strings"):
            inputs.asked(prompts, None, None, 0, False)


def test_signatures_are_read() -> None:
    definitions = get_model_metadata_pb2.SignatureDefMap().signature_def
    info = definitions["risk"].inputs["observation"]
    info.dtype = 1
    for size in (-1, 2):
        info.tensor_shape.dim.add(size=size)
    definitions["risk"].outputs["any"].tensor_shape.unknown_rank = True
    definitions["__saved_model_init_op"].SetInParent()
    assert inputs.signatures(definitions) == {
        "risk": ({"observation": FLOATS}, {"any": ("type 0", None)})
    }
