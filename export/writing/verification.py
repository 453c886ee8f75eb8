"""Checks that an exported model does what the live one does, in both loaders.

`tf.saved_model.load` rebuilds Python objects and binds their variables anew; TensorFlow
Serving restores a graph into a session. A broken export often works in the first only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import tensorflow as tf

from kpg.export.loading import supported_operations, warmup
from kpg.export.wire.errors import ServingError, VerificationError, one_line
from kpg.export.writing.signature import Arrays
from kpg.types import Array

Run: TypeAlias = Callable[[str, Arrays], Arrays]


class Runs(Protocol):
    """A loaded model."""

    def run(self, name: str, inputs: Arrays, /) -> Arrays:
        """Returns the outputs of a signature by name."""
        ...


Loader: TypeAlias = "Callable[[str | os.PathLike[str]], Runs]"


@dataclass(frozen=True)
class Parity:
    """How close an exported model comes to the live one."""

    max_abs: float  # largest absolute difference of any floating-point output
    outputs: dict[str, float]  # the same for each "signature/output"
    operations: tuple[str, ...]  # kinds that a server must have, sorted


def verify(
    path: str | os.PathLike[str],
    reference: Run,
    examples: Iterable[tuple[str, Arrays]],
    *,
    tolerance: float = 1e-5,
) -> Parity:
    """Compares a SavedModel with a live model, in both loaders.

    As a server does, the first loader replays the warm-up requests if there are any.

    Integers, booleans and strings must be equal. A floating-point number x may differ
    by `tolerance · max(1, |x|)`. A log-probability may differ by that divided by the
    smallest `scale` below 1, or times the largest `concentration` above 1, since a
    narrow density is more sensitive to its location.

    Args:
        path: The SavedModel's directory.
        reference: Returns the right outputs for a signature's name and inputs.
        examples: Signature names, each with the arrays of its inputs. Give at least two
            batch sizes: a shape that was frozen to one fails with the other.
        tolerance: Defaults to 1e-5, fifty times the rounding of reordered float32.

    Raises:
        VerificationError: If the SavedModel does not load and run in both loaders, or
            lacks an output, or gives different results.
    """
    found = supported_operations.check(Path(path))
    differences = agreement(_LOADERS, path, reference, examples, tolerance)
    return Parity(max(differences.values(), default=0.0), differences, found)


def agreement(
    loaders: Mapping[str, Loader],
    path: str | os.PathLike[str],
    reference: Run,
    examples: Iterable[tuple[str, Arrays]],
    tolerance: float = 1e-5,
) -> dict[str, float]:
    """Compares a model with a live one in each of some loaders; see `verify`.

    Returns:
        The largest difference of each "signature/output", in any loader.
    """
    differences: dict[str, float] = {}
    cases = [(name, inputs, dict(reference(name, inputs))) for name, inputs in examples]
    for loader, load in loaders.items():
        try:
            model = load(path)
            for name, inputs, expected in cases:
                shapes = ", ".join(f"{key} {a.shape}" for key, a in inputs.items())
                case = f"{name} with {shapes}, loaded by {loader}"
                got = model.run(name, inputs)
                for key, error in _compare(expected, got, tolerance, case):
                    key = f"{name}/{key}"
                    differences[key] = max(error, differences.get(key, 0.0))
        except VerificationError:
            raise
        except Exception as error:  # whatever a loader or a kernel may raise
            raise VerificationError(
                "An exported model must load and run where it will be used; it failed "
                f"in {loader}. Received: "
                f"{error if isinstance(error, ServingError) else one_line(error)}"
            ) from error
    return differences


class _InPython:
    """What `tf.saved_model.load` makes of a SavedModel."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._loaded = tf.saved_model.load(os.fspath(path))

    def run(self, name: str, inputs: Arrays) -> Arrays:
        constants = {key: tf.constant(array) for key, array in inputs.items()}
        outputs = self._loaded.signatures[name](**constants)
        return {key: value.numpy() for key, value in outputs.items()}


_LOADERS: dict[str, Loader] = {
    "TensorFlow Serving's loader": lambda path: warmup.load(Path(path)),
    "tf.saved_model.load": _InPython,
}


def _compare(
    expected: Arrays, got: Arrays, tolerance: float, case: str
) -> Iterable[tuple[str, float]]:
    """Yields the largest difference of each output."""
    if expected.keys() != got.keys():
        raise VerificationError(
            f"{case}: the outputs must be {sorted(expected)}. Received: {sorted(got)}"
        )
    room = sensitivity(expected)
    for key, right in expected.items():
        array = got[key]
        if array.dtype != right.dtype or array.shape != right.shape:
            raise VerificationError(
                f"{case}: output {key} must be {right.dtype} {right.shape}. "
                f"Received: {array.dtype} {array.shape}"
            )
        allowed = tolerance * (room if key == "log_prob" else 1.0)
        yield key, _difference(key, right, array, allowed, case)


def sensitivity(outputs: Arrays) -> float:
    """Returns how many times more than other outputs a log-density may differ."""
    largest = 1.0
    for name, values in outputs.items():
        kind = name.split("_")[0]
        if kind == "scale":
            smallest = float(np.min(values, initial=1.0))
            largest = max(largest, 1.0 / max(smallest, 1e-30))
        elif kind in ("concentration0", "concentration1"):
            largest = max(largest, float(np.max(values, initial=0.0)))
    return largest


def _difference(
    key: str, right: Array, array: Array, allowed: float, case: str
) -> float:
    if right.dtype.kind != "f":
        if not np.array_equal(array, right):
            raise VerificationError(
                f"{case}: output {key} must equal the live model's. Received: "
                f"{np.sum(array != right)} of {right.size} values differ"
            )
        return 0.0
    if not (np.isfinite(right).all() and np.isfinite(array).all()):
        raise VerificationError(
            f"{case}: output {key} must be finite; load an earlier model. "
            f"Received: {np.sum(~np.isfinite(array))} of {array.size} values are not"
        )
    errors = np.abs(array.astype(np.float64) - right)
    if np.any(errors > allowed * np.maximum(1.0, np.abs(right))):
        raise VerificationError(
            f"{case}: output {key} must be within {allowed:.1e} of the live model's. "
            f"Received: a difference of {errors.max():.1e}"
        )
    return float(np.max(errors, initial=0.0))
