"""How the parts of nested observations and actions are called on the wire.

A signature has flat inputs and outputs. The only part of a plain observation is called
`observation`; each part of a nested one `observation_` and its path, joined by `_`: the
keys of dictionaries and the positions in tuples, as in `observation_camera_0`. What is
neither an ASCII letter nor a digit becomes `_`. Actions, and the parameters of their
distributions, follow the same rule: `action_arm`, `logits_arm`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Path = tuple[Any, ...]


def join(prefix: str, path: Iterable[Any] = ()) -> str:
    """Returns the name of the part at `path`, which is empty for a plain space."""
    return re.sub("[^A-Za-z0-9]", "_", "_".join([prefix, *map(str, path)]))


def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Makes a dictionary of names and values.

    Raises:
        ValueError: If two parts would have one name.
    """
    named: dict[str, Any] = {}
    for name, value in pairs:
        if name in named:
            raise ValueError(
                "Each part of a nested space needs an input or output name of its own, "
                "made of its path; rename a key of the space. Received: two parts "
                f"called {name}"
            )
        named[name] = value
    return named


def flatten(prefix: str, nest: Any) -> dict[str, Any]:
    """Names the parts of a nest of batches.

    Args:
        prefix: What the nest is, such as "observation".
        nest: A dictionary or a tuple of nests, or a batch of anything else; a tuple of
            strings is a batch of texts.
    """
    return {join(prefix, path): part for path, part in _parts(nest)}


def build(space: Any, part: Callable[[Path], Any], path: Path = ()) -> Any:
    """Makes a nest in the structure of a Gymnasium space.

    Args:
        space: A `Dict` or `Tuple`, nested or not, or any other space.
        part: Returns what stands at a path of keys and positions.
        path: Where the space itself is. Defaults to the top.
    """
    inside = getattr(space, "spaces", None)  # a client need not import Gymnasium
    if isinstance(inside, Mapping):
        return {key: build(one, part, (*path, key)) for key, one in inside.items()}
    if isinstance(inside, (tuple, list)):
        return tuple(build(one, part, (*path, i)) for i, one in enumerate(inside))
    return part(path)


def paths(space: Any) -> list[Path]:
    """Returns the paths of the parts of a Gymnasium space; `()` of a plain one."""
    found: list[Path] = []
    build(space, found.append)
    return found


def _parts(nest: Any, path: Path = ()) -> Iterable[tuple[Path, Any]]:
    if isinstance(nest, Mapping):
        for key, inside in nest.items():
            yield from _parts(inside, (*path, key))
    elif isinstance(nest, tuple) and not all(isinstance(one, str) for one in nest):
        for position, inside in enumerate(nest):
            yield from _parts(inside, (*path, position))
    else:
        yield path, nest
