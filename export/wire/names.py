"""Names on the wire: of signatures, and of the parts of observations and actions.

A signature has flat inputs and outputs. A plain observation is called `observation`.
Each part of a nested one is called `observation_` and its path, joined by `_`: the keys
of dictionaries and the positions in tuples, as in `observation_camera_0`. Anything but
an ASCII letter or digit becomes `_`. Actions and the parameters of their distributions
follow the same rule: `action_arm`, `logits_arm`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from kpg.types import Nest

GREEDY = "serving_default"  # what TensorFlow Serving takes a request to ask for
SAMPLE = "sample"
COMPLETE = "complete"

# A request must hold every input of a signature: this number stands for "as exported".
AS_EXPORTED = -1

Path = tuple[str | int, ...]
_T = TypeVar("_T")


def join(prefix: str, path: Iterable[str | int] = ()) -> str:
    """Returns the name of the part at `path`, which is empty for a plain space."""
    return re.sub("[^A-Za-z0-9]", "_", "_".join([prefix, *map(str, path)]))


def is_state(name: str) -> bool:
    """Whether an input or output is part of a recurrent policy's state."""
    return re.fullmatch(r"state_\d+", name) is not None


def is_action(name: str) -> bool:
    """Whether an output is an action, or a part of one."""
    return name == "action" or name.startswith("action_")


def unique(pairs: Iterable[tuple[str, _T]]) -> dict[str, _T]:
    """Makes a dictionary of names and values.

    Raises:
        ValueError: If a name occurs twice.
    """
    named: dict[str, _T] = {}
    for name, value in pairs:
        if name in named:
            raise ValueError(
                "The parts of a nested space are named after their paths, and these "
                "names must differ; rename a key of the space. Received: two parts "
                f"called {name}"
            )
        named[name] = value
    return named


def flatten(prefix: str, nest: Nest) -> dict[str, Nest]:
    """Names the parts of a nest of batches.

    Args:
        prefix: What the nest is, such as "observation".
        nest: A dictionary or a tuple of nests, or a batch of anything else; a tuple of
            strings is a batch of texts.
    """
    return {join(prefix, path): part for path, part in _parts(nest)}


def build(space: object, part: Callable[[Path], Nest], path: Path = ()) -> Nest:
    """Makes a nest in the structure of a Gymnasium space.

    Args:
        space: A `Dict` or `Tuple`, nested or not, or any other space.
        part: Returns the part at a path of keys and positions.
        path: Where the space itself is. Defaults to the top.
    """
    inside = getattr(space, "spaces", None)  # a client need not import Gymnasium
    if isinstance(inside, Mapping):
        return {key: build(one, part, (*path, key)) for key, one in inside.items()}
    if isinstance(inside, (tuple, list)):
        return tuple(build(one, part, (*path, i)) for i, one in enumerate(inside))
    return part(path)


def paths(space: object) -> list[Path]:
    """Returns the paths of the parts of a Gymnasium space; `()` of a plain one."""
    found: list[Path] = []
    build(space, found.append)
    return found


def _parts(nest: Nest, path: Path = ()) -> Iterator[tuple[Path, Nest]]:
    if isinstance(nest, Mapping):
        for key, inside in nest.items():
            yield from _parts(inside, (*path, key))
    elif isinstance(nest, tuple) and not all(isinstance(one, str) for one in nest):
        for position, inside in enumerate(nest):
            yield from _parts(inside, (*path, position))
    else:
        yield path, nest
