"""What a client sends: values by name, in the data types that a signature wants."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kpg.export.wire import names, tensors

Array = tensors.Array

# A request must hold every input of a signature: this one stands for "as exported".
AS_EXPORTED = -1


class TensorSpec(NamedTuple):
    """What one input or output of a signature must be.

    Attributes:
        dtype: TensorFlow's name of the data type, such as "float" or "int64".
        shape: Sizes, None where a size varies; None as a whole where the rank does.
    """

    dtype: str
    shape: tuple[int | None, ...] | None


class Signature(NamedTuple):
    """Inputs and outputs of one signature, by name."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


def signatures(definitions: Mapping[str, Any]) -> dict[str, Signature]:
    """Reads SignatureDef messages by name, but for TensorFlow's own.

    Those begin with `__`, such as the initialiser.
    """
    return {
        name: Signature(specs(one.inputs), specs(one.outputs))
        for name, one in sorted(definitions.items())
        if not name.startswith("__")
    }


def specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    """Reads the inputs or outputs of a SignatureDef message."""
    return {name: _spec(info) for name, info in sorted(infos.items())}


def is_state(name: str) -> bool:
    """Whether an input or output is a part of a recurrent policy's state."""
    return re.fullmatch(r"state_\d+", name) is not None


def is_action(name: str) -> bool:
    """Whether an output is an action, or a part of one."""
    return name == "action" or name.startswith("action_")


def named(
    observations: Any,
    state: Mapping[str, Array] | None,
    seed: int | Sequence[int] | None,
    inputs: Mapping[str, TensorSpec],
) -> dict[str, Array]:
    """Names what a request holds, and casts it.

    Args:
        observations: A batch for the only input that is neither seed nor state; or a
            nest of batches; or several inputs by name.
        state: What the step before returned; zeros for what is missing of it.
        seed: For an input `seed`: an int32 number or two of them.
        inputs: The signature's; empty if unknown.

    Returns:
        An array for each input.

    Raises:
        ValueError: If an input cannot be cast without loss.
    """
    own = [name for name in inputs if name != "seed" and not is_state(name)]
    values = _by_name(observations, own)
    for name in filter(is_state, inputs):
        if name not in values:
            values[name] = (state or {}).get(name, _zeros(values, inputs[name]))
    if seed is not None:
        values["seed"] = [seed, 0] if isinstance(seed, int) else seed
    return {
        name: _cast(name, np.asarray(value), inputs.get(name))
        for name, value in values.items()
    }


def asked(
    prompts: Sequence[str],
    max_new_tokens: int | None,
    temperature: float | None,
    seed: int,
    deterministic: bool,
) -> dict[str, Any]:
    """Names the inputs of the signature `complete`, see `kpg.export.Client.complete`.

    Raises:
        ValueError: If `prompts` are not strings.
    """
    texts = list(prompts)
    if isinstance(prompts, str) or not all(isinstance(text, str) for text in texts):
        raise ValueError(
            f"`prompts` must be a list of strings. Received: prompts={prompts!r}"
        )
    # An array of `str` would lose the zeros at the end of a text.
    encoded = np.empty(len(texts), object)
    encoded[:] = [text.encode() for text in texts]
    return {
        "prompts": encoded,
        "seed": seed,
        "max_new_tokens": AS_EXPORTED if max_new_tokens is None else max_new_tokens,
        "temperature": float(AS_EXPORTED) if temperature is None else temperature,
        "deterministic": deterministic,
    }


def _by_name(observations: Any, own: list[str]) -> dict[str, Any]:
    if isinstance(observations, Mapping) and observations.keys() >= set(own):
        return dict(observations)
    nested = all(name.startswith("observation_") for name in own)
    if nested and isinstance(observations, (Mapping, tuple)):
        return names.flatten("observation", observations)
    if isinstance(observations, Mapping):
        return dict(observations)
    return {own[0] if len(own) == 1 else "observation": observations}


def _zeros(values: Mapping[str, Any], spec: TensorSpec) -> Array:
    """Returns a state for each row of the observations."""
    rows = np.shape(next(iter(values.values()), ()))[:1]
    return np.zeros([*rows, *(size or 0 for size in (spec.shape or ())[1:])])


def _cast(name: str, array: Array, spec: TensorSpec | None) -> Array:
    """Casts to a signature's data type where that keeps the values.

    Rounding to a shorter floating-point type is no loss; what is not a number of the
    target at all is left as it is, for the server to refuse.
    """
    kind = tensors.kind_of_name(spec.dtype) if spec else None
    if kind is None or array.dtype == kind.dtype or array.dtype.kind not in "biuf":
        return array
    if kind.dtype.kind not in "biuf":
        return array
    with np.errstate(invalid="ignore", over="ignore"):
        cast = array.astype(kind.dtype)
    if kind.dtype.kind != "f" and not np.array_equal(cast, array):
        raise ValueError(
            f"Input {name} must hold values of {kind.name}; round or scale them first. "
            f"Received: {array.dtype} values outside of it"
        )
    return cast


def _spec(info: Any) -> TensorSpec:
    shape = info.tensor_shape
    sizes = tuple(dim.size if dim.size >= 0 else None for dim in shape.dim)
    return TensorSpec(
        tensors.type_name(info.dtype), None if shape.unknown_rank else sizes
    )
