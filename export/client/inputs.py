"""What a client sends: values by name, in the data types that a signature wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kpg.export.wire import names, tensors
from kpg.types import Array, Nest


class ArraySpec(NamedTuple):
    """What one input or output of a signature must be."""

    dtype: str  # TensorFlow's name of the data type, such as "float" or "int64"
    shape: tuple[int | None, ...] | None  # None where a size, or the rank, varies


class SignatureSpec(NamedTuple):
    """Inputs and outputs of one signature, by name."""

    inputs: dict[str, ArraySpec]
    outputs: dict[str, ArraySpec]


def signatures(
    definitions: Mapping[str, tensors.SignatureDef],
) -> dict[str, SignatureSpec]:
    """Reads SignatureDef messages by name, without TensorFlow's own `__` ones."""
    return {
        name: SignatureSpec(_specs(one.inputs), _specs(one.outputs))
        for name, one in sorted(definitions.items())
        if not name.startswith("__")
    }


class Batch(NamedTuple):
    """The inputs of a request, by name."""

    arrays: dict[str, Array]
    single: bool  # made of one observation without a batch axis


def named(
    observations: Nest,
    state: Mapping[str, Array] | None,
    seed: int | Sequence[int] | None,
    inputs: Mapping[str, ArraySpec],
) -> Batch:
    """Returns the arguments of `Client.predict` as arrays by name, cast to their types.

    Zeros are a missing state. `inputs` is empty if the signature is unknown. If all
    observations have one axis less than the inputs, they become a batch of one.
    """
    own = [name for name in inputs if name != "seed" and not names.is_state(name)]
    values = {k: np.asarray(v) for k, v in _by_name(observations, own).items()}
    batched = {k for k, spec in inputs.items() if spec.shape and spec.shape[0] is None}
    ranks = {
        k: np.ndim(values[k]) - len(inputs[k].shape or ()) for k in batched & {*values}
    }
    single = bool(ranks) and set(ranks.values()) == {-1}
    if single:
        values |= {name: values[name][np.newaxis] for name in ranks}
    for name in filter(names.is_state, inputs):
        if name not in values:
            part = (state or {}).get(name)
            if part is None:
                part = _zeros(values, inputs[name])
            elif single:
                part = np.asarray(part)[np.newaxis]
            values[name] = part
    if seed is not None:
        values["seed"] = np.asarray([seed, 0] if np.ndim(seed) == 0 else seed)
    arrays = {name: _cast(name, one, inputs.get(name)) for name, one in values.items()}
    return Batch(arrays, single)


def parts(
    batch: Batch,
    inputs: Mapping[str, ArraySpec],
    batch_size: int | None,
    may_seed: bool,
) -> list[dict[str, Array]]:
    """Cuts a batch into requests of at most `batch_size` rows.

    The second number of a seed counts the parts, so that none repeats another's draws.
    If it is the caller's own (`may_seed` is `False`), or there is none, the batch stays
    whole.
    """
    arrays = batch.arrays
    cut = [k for k, spec in inputs.items() if spec.shape and spec.shape[0] is None]
    cut = [name for name in cut if name in arrays and arrays[name].ndim]
    rows = max((len(arrays[name]) for name in cut), default=0)
    seed = arrays.get("seed")
    whole = seed is not None and not (may_seed and seed.ndim)
    if batch_size is None or rows <= batch_size or whole:
        return [arrays]
    made = []
    for number, start in enumerate(range(0, rows, batch_size)):
        part = {name: arrays[name][start : start + batch_size] for name in cut}
        if seed is not None:
            part["seed"] = seed + np.array([0, number], seed.dtype)
        made.append(arrays | part)
    return made


def asked(
    prompts: Sequence[str],
    max_new_tokens: int | None,
    temperature: float | None,
    seed: int,
    deterministic: bool,
) -> dict[str, Nest]:
    """Returns the inputs of the signature `complete`, see `Client.complete`."""
    texts = list(prompts)
    if isinstance(prompts, str) or not all(isinstance(text, str) for text in texts):
        raise ValueError(
            f"`prompts` must be a list of strings. Received: prompts={prompts!r}"
        )
    # An array of `str` would lose the zeros at the end of a text.
    encoded = np.empty(len(texts), object)
    encoded[:] = [text.encode() for text in texts]
    default = names.AS_EXPORTED
    return {
        "prompts": encoded,
        "seed": seed,
        "max_new_tokens": default if max_new_tokens is None else max_new_tokens,
        "temperature": float(default) if temperature is None else temperature,
        "deterministic": deterministic,
    }


def _by_name(observations: Nest, own: list[str]) -> dict[str, Nest]:
    if isinstance(observations, Mapping) and observations.keys() >= set(own):
        return dict(observations)
    nested = all(name.startswith("observation_") for name in own)
    if nested and isinstance(observations, (Mapping, tuple)):
        return names.flatten("observation", observations)
    if isinstance(observations, Mapping):
        return dict(observations)
    return {own[0] if len(own) == 1 else "observation": observations}


def _zeros(values: Mapping[str, Nest], spec: ArraySpec) -> Array:
    rows = np.shape(next(iter(values.values()), ()))[:1]
    return np.zeros([*rows, *(size or 0 for size in (spec.shape or ())[1:])])


def _cast(name: str, array: Array, spec: ArraySpec | None) -> Array:
    """Casts where that keeps the values; rounding to a shorter float is no loss.

    What is no number of the target type is left as it is, for the server to refuse.
    """
    kind = tensors.BY_NAME.get(spec.dtype) if spec else None
    if kind is None or array.dtype == kind.dtype or array.dtype.kind not in "biuf":
        return array
    if kind.dtype.kind not in "biuf":
        return array
    with np.errstate(invalid="ignore", over="ignore"):
        cast = array.astype(kind.dtype)
    if kind.dtype.kind != "f" and not np.array_equal(cast, array):
        raise ValueError(
            f"Input {name} must hold values of {kind.name}; round or scale them first. "
            f"Received: {array.dtype} values that {kind.name} cannot hold"
        )
    return cast


def _specs(infos: Mapping[str, tensors.TensorInfo]) -> dict[str, ArraySpec]:
    return {
        name: ArraySpec(tensors.type_name(info.dtype), tensors.shape_of(info))
        for name, info in sorted(infos.items())
    }
