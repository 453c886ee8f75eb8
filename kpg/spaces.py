"""Gymnasium's spaces: as plain data, as tensor specs, and their elements as arrays.

An observation or action is a nest in the order of `tf.nest`: dictionary keys are
sorted. Trajectories and models hold of each space, after the batch axes:

- `Box`, `MultiDiscrete`, `MultiBinary`: an array of the space's shape and dtype;
- `Discrete`: a scalar of the space's dtype, the value itself, `start` included;
- `Text`: `[max_length]` int32 character ids, where 0 pads and the others are 1 + the
  position in the sorted character set;
- `Dict` and `Tuple`: a dictionary and a tuple of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import tensorflow as tf

from kpg import checks
from kpg.types import Array, Config, Nest, Space

Path = tuple[str, ...]


def to_config(space: Space) -> Config:
    """Describes a space with values that JSON can hold, for `from_config`.

    Raises a `ValueError` if `check` refuses it as an observation.
    """
    check(space, "observation")
    name, kind = next(p for p in _KINDS.items() if isinstance(space, p[1].space))
    return {"kind": name, **kind.fields(space)}


def from_config(config: Config) -> Space:
    """Makes the Gymnasium space that `to_config` described.

    Raises a `ValueError` if `config` does not describe a space.
    """
    kind = config.get("kind")
    if kind not in _KINDS:
        raise ValueError(
            "The `kind` of a space's configuration must be one of "
            f"{', '.join(_KINDS)}; make it with `kpg.spaces.to_config`. "
            f"Received: kind={kind!r}"
        )
    return _KINDS[kind].make(config)


def specs(space: Space) -> Nest:
    """Returns the nest of `tf.TensorSpec` of one element, without a batch axis."""
    if isinstance(space, gym.spaces.Text):
        return tf.TensorSpec([space.max_length], tf.int32)
    if isinstance(space, (gym.spaces.Dict, gym.spaces.Tuple)):
        return _nest(space, [specs(part) for _, part in _parts(space)])
    return tf.TensorSpec(space.shape, space.dtype)


def encode(space: Space, batch: Nest) -> Nest:
    """Copies what a vector environment emits into new arrays `[B, ...]`.

    `batch` has B elements of the space as Gymnasium batches them: arrays, sequences of
    strings for a `Text`, nests of these for `Dict` and `Tuple`. The top of this module
    says what becomes of them. Raises a `ValueError` if an array's shape is not the
    space's, or it is of floats where the space has integers; if a number is not in a
    `Discrete`, `MultiDiscrete` or `MultiBinary`, or too large for the dtype; if a text
    is too long or has a character that is not in the space.
    """
    return _encode(space, batch, "")


def _encode(space: Space, batch: Nest, where: str) -> Nest:
    if space.shape is not None:
        given: Array = np.asarray(batch)
        if given.shape[1:] != space.shape:
            raise ValueError(
                f"A batch of {space} must have the shape [B, *{space.shape}]. Received:"
                f" shape={given.shape}{where and f' at {where}'}"
            )
        with np.errstate(over="ignore"):
            values = given.astype(space.dtype)
        if values.dtype.kind in "iub":
            _check_integers(space, given, values, where)
        return values
    if isinstance(space, gym.spaces.Text):
        return _encode_texts(space, batch)
    if isinstance(space, gym.spaces.Dict):
        parts = [_encode(p, batch[k], f"{where}[{k!r}]") for k, p in _parts(space)]
        return _nest(space, parts)
    pairs = zip(_parts(space), batch, strict=True)
    return tuple(_encode(part, own, f"{where}[{i}]") for (i, part), own in pairs)


def batched(space: Space, elements: Nest) -> tuple[Nest, bool]:
    """Encodes one element of a space or a batch, and tells which of them it was.

    One element becomes a batch of one. Raises a `ValueError` if it is neither.
    """
    try:
        single = _is_single(space, elements)
        batch = _batch_of_one(space, elements) if single else elements
        return encode(space, batch), single
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        said = str(error)
        if "Received" not in said:  # a key or an axis that is not there
            said = f"Received: {type(elements).__name__}, {type(error).__name__} {said}"
        raise ValueError(
            "Observations must be one element of the space, or a batch of them with "
            f"one more axis in front. {said}"
        ) from error


def _is_single(space: Space, elements: Nest) -> bool:
    """Tells by its first leaf, if it has the structure of the space."""
    for key, part in _parts(space):
        return _is_single(part, elements[key])
    if isinstance(space, gym.spaces.Text):
        return isinstance(elements, str)
    return np.ndim(elements) == len(space.shape or ())


def _batch_of_one(space: Space, element: Nest) -> Nest:
    if isinstance(space, gym.spaces.Dict):
        return {key: _batch_of_one(part, element[key]) for key, part in _parts(space)}
    if isinstance(space, gym.spaces.Tuple):
        pairs = zip(_parts(space), element, strict=True)
        return tuple(_batch_of_one(part, own) for (_, part), own in pairs)
    text = isinstance(space, gym.spaces.Text)
    return [element] if text else np.asarray(element)[np.newaxis]


def _check_integers(space: Space, given: Array, values: Array, where: str) -> None:
    if given.dtype.kind in "iub":
        outside = np.zeros((), bool)
        if given.dtype != values.dtype:
            outside = given != values
        if (bounds := choices(space)) is not None:
            outside = outside | (given < bounds[0]) | (given > bounds[1])
        if not outside.any():
            return
        index = tuple(np.argwhere(outside)[0].tolist())
        seen = f"{given[index]} at index {index}, of which the first is the row"
    else:
        seen = f"{given.dtype} numbers"
    raise ValueError(f"Observations{where} must be in {space}. Received: {seen}")


def choices(space: Space) -> tuple[Array, Array] | None:
    """Returns the least and the largest integers of a space whose values are choices.

    That is a `Discrete`, `MultiDiscrete` or `MultiBinary`, and `None` is for all else.
    """
    if isinstance(space, (gym.spaces.Discrete, gym.spaces.MultiDiscrete)):
        count = getattr(space, "nvec", getattr(space, "n", 1))
        return np.asarray(space.start), space.start + np.asarray(count) - 1
    if isinstance(space, gym.spaces.MultiBinary):
        return np.zeros(space.shape, int), np.ones(space.shape, int)
    return None


def leaves(space: Space) -> list[tuple[Path, Space]]:
    """Returns the paths and spaces that are no `Dict` or `Tuple`, in `tf.nest`'s order.

    The path of a plain space is `()`; the elements of a `Tuple` are named "0", "1", ….
    """
    if not isinstance(space, (gym.spaces.Dict, gym.spaces.Tuple)):
        return [((), space)]
    return [
        ((str(key), *path), leaf)
        for key, part in _parts(space)
        for path, leaf in leaves(part)
    ]


def check(space: Space, role: str) -> None:
    """Raises a `ValueError` for a space that kpg cannot handle; it names a wrapper.

    An action (`role` "action", not "observation") has no text, and its Boxes are float.
    """
    checks.choice("role", role, _WRAPPERS)
    _check(space, role, "")


def _check(space: Space, role: str, where: str) -> None:
    wanted = _wanted(space, role == "action")
    if wanted is not None:
        raise ValueError(
            f"The {role} space {wanted}. Received: {type(space).__name__}, {space!r}, "
            f"as {role}_space{where}. {_WRAPPERS[role]}, and pass it to kpg.make(…, "
            "wrappers=[…])."
        )
    for key, part in _parts(space):
        _check(part, role, f"{where}[{key!r}]")


def _wanted(space: Space, is_action: bool) -> str | None:
    """Returns what is wanted instead of a space, if anything."""
    if not isinstance(space, tuple(kind.space for kind in _KINDS.values())):
        return f"must be built of {', '.join(_KINDS)}"
    if 0 in (space.shape or ()) or len(getattr(space, "spaces", "any")) == 0:
        return "must not be empty"
    if isinstance(space, gym.spaces.Dict) and {*map(type, space.spaces)} != {str}:
        return "must have strings as keys"
    if is_action and isinstance(space, gym.spaces.Text):
        return "must hold no text"
    if is_action and isinstance(space, gym.spaces.Box):
        if not np.issubdtype(space.dtype, np.floating):
            return "must have floats in each Box"
    return None


_WRAPPERS = {
    "observation": (
        "Write a gymnasium.ObservationWrapper whose `observation` method turns it into "
        "one of these, for example an array of fixed shape"
    ),
    "action": (
        "Write a gymnasium.ActionWrapper whose `action` method makes it from a "
        "Discrete, a MultiDiscrete or a Box of floats"
    ),
}


def _parts(space: Space) -> Iterator[tuple[str | int, Space]]:
    """Yields the keys and spaces in a `Dict` or `Tuple`, in the order of `tf.nest`."""
    if isinstance(space, gym.spaces.Dict):
        yield from sorted(space.spaces.items())
    elif isinstance(space, gym.spaces.Tuple):
        yield from enumerate(space.spaces)


def _nest(space: Space, values: list[Nest]) -> Nest:
    """Packs one value for each of `_parts` into the structure of the space."""
    if isinstance(space, gym.spaces.Dict):
        keys = [key for key, _ in _parts(space)]
        return dict(zip(keys, values, strict=True))
    return tuple(values)


def _characters(space: gym.spaces.Text) -> str:
    return "".join(sorted(space.character_set))


def _encode_texts(space: gym.spaces.Text, texts: Sequence[str]) -> Array:
    known = np.array([ord(character) for character in _characters(space)], np.uint32)
    ids = np.zeros((len(texts), space.max_length), np.int32)
    for row, text in zip(ids, texts, strict=True):
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        if len(codes) > space.max_length or not np.isin(codes, known).all():
            raise ValueError(
                f"A text must have at most {space.max_length} characters, all from "
                f"{_characters(space)!r}. Received: {str(text)!r}"
            )
        row[: len(codes)] = 1 + np.searchsorted(known, codes)
    return ids


class _Kind(NamedTuple):
    """A class of spaces, how to describe one, and how to make it again."""

    space: type[Space]
    fields: Callable[[Any], Config]
    make: Callable[[Config], Space]


def _make_discrete(config: Config) -> gym.spaces.Discrete[Any]:
    dtype = config.get("dtype", "int64")
    # Gymnasium 1.1 has int64 only, and no argument for it.
    other: Config = {} if dtype == "int64" else {"dtype": np.dtype(dtype).type}
    return gym.spaces.Discrete(config["n"], start=config["start"], **other)


def _write_bounds(bounds: Array) -> float | str | list[float | str]:
    """Flattens bounds, to one if all are equal; JSON has no infinity, so it is text."""
    values = [v if np.isfinite(v) else str(v) for v in bounds.reshape(-1).tolist()]
    return values[0] if values.count(values[0]) == len(values) else values


def _read_bounds(config: Config, name: str) -> Array:
    dtype, shape = np.dtype(config["dtype"]), config["shape"]
    values = config[name] if isinstance(config[name], list) else [config[name]]
    numbers = np.array([float(v) if isinstance(v, str) else v for v in values], dtype)
    return np.broadcast_to(numbers.reshape(shape if len(numbers) > 1 else ()), shape)


def _dtype(space: Space) -> str:
    return np.dtype(space.dtype).name


_KINDS = {
    "Box": _Kind(
        gym.spaces.Box,
        lambda space: {
            "low": _write_bounds(space.low),
            "high": _write_bounds(space.high),
            "shape": list(space.shape),
            "dtype": _dtype(space),
        },
        lambda config: gym.spaces.Box(
            _read_bounds(config, "low"),
            _read_bounds(config, "high"),
            dtype=np.dtype(config["dtype"]).type,
        ),
    ),
    "Discrete": _Kind(
        gym.spaces.Discrete,
        lambda space: {
            "n": int(space.n),
            "start": int(space.start),
            "dtype": _dtype(space),
        },
        _make_discrete,
    ),
    "MultiDiscrete": _Kind(
        gym.spaces.MultiDiscrete,
        lambda space: {
            "nvec": space.nvec.tolist(),
            "start": space.start.tolist(),
            "dtype": _dtype(space),
        },
        lambda config: gym.spaces.MultiDiscrete(
            np.array(config["nvec"]),
            np.dtype(config["dtype"]).type,
            start=np.array(config["start"]),
        ),
    ),
    "MultiBinary": _Kind(
        gym.spaces.MultiBinary,
        lambda space: {"shape": list(space.shape)},
        lambda config: gym.spaces.MultiBinary(
            config["shape"][0] if len(config["shape"]) == 1 else config["shape"]
        ),
    ),
    "Text": _Kind(
        gym.spaces.Text,
        lambda space: {
            "min_length": space.min_length,
            "max_length": space.max_length,
            "charset": _characters(space),
        },
        lambda config: gym.spaces.Text(
            config["max_length"],
            min_length=config["min_length"],
            charset=config["charset"],
        ),
    ),
    "Dict": _Kind(
        gym.spaces.Dict,
        lambda space: {"spaces": {k: to_config(part) for k, part in _parts(space)}},
        lambda config: gym.spaces.Dict(
            {key: from_config(part) for key, part in config["spaces"].items()}
        ),
    ),
    "Tuple": _Kind(
        gym.spaces.Tuple,
        lambda space: {"spaces": [to_config(part) for _, part in _parts(space)]},
        lambda config: gym.spaces.Tuple([from_config(p) for p in config["spaces"]]),
    ),
}
