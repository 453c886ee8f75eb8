"""What is packed comes back: values, structure and dtypes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.trainers.running.packing import packed, unpacked


def through_json(nest: Any) -> Any:
    arrays: list[bytes] = []
    return unpacked(json.loads(json.dumps(packed(nest, arrays))), arrays)


def test_numbers_and_structure_come_back() -> None:
    nest = {
        "a": [None, True, 3, -0.1, "text", b"\x00\xff", ()],
        1: ({"array": 2}, {"tuple": (1, [2])}, 2**127 + 1, 1e-45),
        ("key", 2): {},
    }
    assert through_json(nest) == nest
    again = through_json([float("nan"), float("-inf")])
    assert np.isnan(again[0]) and again[1] == -np.inf


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
        np.array([[1e-310]], np.float64),
        np.array([], np.int8),
        np.uint64(2**63),
        np.float32(0.1),
        np.array([True, False]),
        np.array([b"text", b""], object),
    ],
)
def test_arrays_keep_their_dtypes(array: Any) -> None:
    again = through_json({"array": array})["array"]
    assert again.dtype == array.dtype and again.shape == array.shape
    np.testing.assert_array_equal(again, array)
    again[...] = again  # it can be written to


def test_tensors_become_arrays() -> None:
    for dtype in (tf.bfloat16, tf.float16, tf.int64):
        again = through_json(tf.cast([1.5, 2.0], dtype))
        np.testing.assert_array_equal(again, tf.cast([1.5, 2.0], dtype).numpy())
        assert again.dtype == dtype.as_numpy_dtype


def test_what_is_code_is_refused() -> None:
    for nest in (print, object(), {"a": [lambda: 0]}):
        with pytest.raises(ValueError, match=r"must be made of.*Received: \w+"):
            packed(nest, [])
