"""Names on the wire: of signatures, and of the parts of observations and actions.

A plain observation is called `observation`. A part of a nested one adds its path of
keys and positions: `observation_camera_0`. All but ASCII letters and digits become `_`.
Actions and their distributions' parameters do the same: `action_arm`, `logits_arm`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from kpg.types import Nest

GREEDY = "serving_default"  # what TensorFlow Serving takes a request to ask for
SAMPLE = "sample"
COMPLETE = "complete"
BUILT_IN = (GREEDY, SAMPLE, COMPLETE)

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
    """Makes a dictionary of pairs, and refuses a name that occurs twice."""
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
    """Names the parts of a nest; a tuple of strings is one part, a batch of texts."""
    return {join(prefix, path): part for path, part in _parts(nest)}


def build(space: object, part: Callable[[Path], Nest], path: Path = ()) -> Nest:
    """Makes a nest in the structure of a Gymnasium space, `part` by `part`."""
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
