"""One signature: traced once, run eagerly, and checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.export import VerificationError
from kpg.export.writing.signature import Signature, check_name

INPUTS = {"x": tf.TensorSpec([None, 2]), "seed": tf.TensorSpec([], tf.int32)}
ARRAYS = {"x": np.ones((3, 2), np.float32), "seed": np.array(4, np.int32)}


def make(function: Any, live: Any = None) -> Signature:
    return Signature("mine", INPUTS, function, "Adds.", live)


def add(x: Any, seed: Any) -> dict[str, Any]:
    return {"sum": x + tf.cast(seed, tf.float32), "rows": tf.shape(x)[:1]}


def test_it_is_traced_with_named_inputs_and_any_number_of_rows() -> None:
    signature = make(add)
    assert signature.traced is signature.traced
    assert signature.traced.structured_outputs["sum"].shape.as_list() == [None, 2]
    assert {"AddV2", "Cast", "Placeholder"} <= signature.operations
    for rows in (0, 1, 5):
        x = np.full((rows, 2), 2.0, np.float32)
        outputs = signature.traced(x=tf.constant(x), seed=tf.constant(3))
        np.testing.assert_array_equal(outputs["sum"], x + 3)


def test_it_runs_eagerly_or_as_it_is_told() -> None:
    outputs = make(add).run(ARRAYS)
    np.testing.assert_array_equal(outputs["sum"], np.full((3, 2), 5.0))
    assert isinstance(outputs["rows"], np.ndarray)
    assert make(add, live=lambda arrays: {"y": arrays["x"]}).run(ARRAYS).keys() == {"y"}


def test_what_a_server_lacks_is_named() -> None:
    make(add).check()
    with pytest.raises(VerificationError, match="'mine' cannot be served.*PyFunc"):
        make(lambda x, seed: {"y": tf.numpy_function(np.sin, [x], tf.float32)}).check()
    with pytest.raises(ValueError, match="use tf.cast.*y of float8_e5m2"):
        make(
            lambda x, seed: {"y": tf.cast(x, tf.dtypes.experimental.float8_e5m2)}
        ).check()


def test_names() -> None:
    check_name("A name", "observation_camera_0")
    for name in ("", "0", "_a", "a.b", "ä", 1):
        with pytest.raises(ValueError, match=f"A name must be.*Received: {name!r}$"):
            check_name("A name", name)
