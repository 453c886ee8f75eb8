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
    batch = inputs.named(observations, None, None, wanted)
    named = batch.arrays
    assert not batch.single and list(named) == list(wanted or PLAIN)
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
    named = inputs.named(observations, None, None, NESTED).arrays
    np.testing.assert_array_equal(named["observation_a"], ROWS)
    assert list(named["observation_b_0"]) == ["x", "y"]


def test_a_state_is_completed_with_zeros() -> None:
    wanted = {**PLAIN, "state_0": STATE, "state_1": STATE}
    named = inputs.named(ROWS, {"state_1": np.ones((2, 3))}, None, wanted).arrays
    np.testing.assert_array_equal(named["state_0"], np.zeros((2, 3)))
    np.testing.assert_array_equal(named["state_1"], np.ones((2, 3)))
    assert {array.dtype for array in named.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(("seed", "pair"), [(7, [7, 0]), ([7, 8], [7, 8])])
def test_a_seed(seed: Any, pair: list[int]) -> None:
    named = inputs.named(ROWS, None, seed, {**PLAIN, "seed": SEED}).arrays
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
    assert rounded.arrays["x"].dtype == np.float32


def test_what_is_no_number_is_left_to_the_server() -> None:
    named = inputs.named(["left"], None, None, {"x": ArraySpec("float", (None,))})
    assert named.arrays["x"].tolist() == ["left"]


@pytest.mark.parametrize(
    ("observations", "wanted", "single"),
    [
        (ROWS[0], PLAIN, True),
        (ROWS, PLAIN, False),
        ([], {"x": ArraySpec("int64", (None,))}, False),
        (3, {"x": ArraySpec("int64", (None,))}, True),
        ("abc", {"x": ArraySpec("string", (None,))}, True),
        ({"a": ROWS[0], "b": (np.array("x"),)}, NESTED, True),
        ({"a": ROWS[0], "b": (["x"],)}, NESTED, False),  # for the server to refuse
        (0.5, PLAIN, False),
        (ROWS[0], {"x": ArraySpec("float", None)}, False),
        (ROWS[0], {"x": ArraySpec("float", (2,))}, False),
    ],
)
def test_a_single_observation(observations: Any, wanted: Any, single: bool) -> None:
    batch = inputs.named(observations, None, None, wanted)
    assert batch.single == single
    if single:
        assert {array.shape[0] for array in batch.arrays.values()} == {1}


def test_the_state_of_a_single_observation() -> None:
    wanted = {**PLAIN, "state_0": STATE, "state_1": STATE}
    batch = inputs.named(ROWS[0], {"state_1": np.ones(3)}, None, wanted)
    assert batch.arrays["state_0"].tolist() == [[0.0] * 3]
    assert batch.arrays["state_1"].tolist() == [[1.0] * 3]


def test_a_batch_is_cut() -> None:
    wanted = {**PLAIN, "state_0": STATE, "seed": SEED}
    rows = np.arange(10.0).reshape(5, 2)
    batch = inputs.named(rows, None, 7, wanted)
    made = inputs.parts(batch, wanted, 2, True)
    assert [len(part["observation"]) for part in made] == [2, 2, 1]
    assert [len(part["state_0"]) for part in made] == [2, 2, 1]
    assert [part["seed"].tolist() for part in made] == [[7, 0], [7, 1], [7, 2]]
    joined = np.concatenate([part["observation"] for part in made])
    np.testing.assert_array_equal(joined, rows)
    for whole in (
        inputs.parts(batch, wanted, None, True),
        inputs.parts(batch, wanted, 5, True),
        inputs.parts(batch, wanted, 2, False),
    ):
        assert len(whole) == 1 and whole[0] is batch.arrays
    scalar = inputs.named({"x": [1, 2], "seed": 3}, None, None, {"x": SEED})
    assert len(inputs.parts(scalar, {"x": ArraySpec("int32", (None,))}, 1, True)) == 1


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
