"""The in-graph environments that `kpg.make` knows by id; Gymnasium has its own."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

import gymnasium
from gymnasium.envs.registration import EnvSpec, parse_env_id

from kpg import checks, imports
from kpg.environments.graph.functional import is_functional, missing_methods
from kpg.types import Config, Factory


class Registration(NamedTuple):
    """What an id stands for; see `register`."""

    entry: Factory | str
    max_episode_steps: int | None
    reward_threshold: float | None
    kwargs: Config

    def make(self, kwargs: Config) -> object:
        """Makes the functional environment; `kwargs` go before those registered."""
        entry = imports.named(self.entry) if isinstance(self.entry, str) else self.entry
        if not callable(entry):
            raise ValueError(
                "An entry must name a class or function that makes an environment. "
                f"Received: {self.entry!r}, which is {entry!r}"
            )
        return entry(**{**self.kwargs, **kwargs})

    def spec(self, id: str) -> EnvSpec:
        """Returns a new spec with the id, the time limit and the threshold."""
        registered = gymnasium.registry.get(id)
        spec = copy.deepcopy(registered) if registered is not None else EnvSpec(id)
        for name in ("max_episode_steps", "reward_threshold"):
            if getattr(self, name) is not None:
                setattr(spec, name, getattr(self, name))
        return spec


# Packages that register their ids when they are imported, and their modules.
_PACKAGES = {
    "ALE/": ("ale-py", "ale_py"),
    "BabyAI-": ("minigrid", "minigrid"),
    "MiniGrid-": ("minigrid", "minigrid"),
    "dm_control/": ("'shimmy[dm-control]'", "shimmy"),
}

_REGISTRY: dict[str, Registration] = {}
IN_GRAPH: Collection[str] = _REGISTRY.keys()
"""The ids of all in-graph environments, those registered later included."""


def register(
    id: str,
    entry: Factory | str,
    max_episode_steps: int | None = None,
    reward_threshold: float | None = None,
    **kwargs: object,
) -> None:
    """Registers an in-graph environment for `kpg.make`, as `gymnasium.register` others.

    The command line imports the module that registers it for an id "module:Id-v0".

    Args:
        id: Such as "Line-v0": an optional namespace with "/", a name and a version. An
            id of Gymnasium's registry gets an in-graph version this way.
        entry: A class derived from `FunctionalEnv`, a function that returns such an
            environment, or "module:Name" of either, which is imported on first use.
        max_episode_steps: Time limit, ≥ 1. Defaults to that of Gymnasium's environment
            of the same id, then to that of the environment itself.
        reward_threshold: Mean return that counts as solved. Defaults to Gymnasium's.
        **kwargs: Arguments that `entry` is called with.

    Raises:
        ValueError: If the id is malformed or taken, or the entry unusable.
    """
    _check_id(id)
    _check_entry(entry)
    if max_episode_steps is not None:
        max_episode_steps = checks.whole_number("max_episode_steps", max_episode_steps)
    if reward_threshold is not None:
        reward_threshold = checks.number("reward_threshold", reward_threshold)
    known = _REGISTRY.get(id)
    if known is not None and not _same(known.entry, entry):
        raise ValueError(
            "An id can be registered only once. Take another name or version, or call "
            f"`kpg.environments.unregister({id!r})` first. Received: id={id!r} with "
            f"{entry!r}; it stands for {known.entry!r}"
        )
    _REGISTRY[id] = Registration(entry, max_episode_steps, reward_threshold, kwargs)


def unregister(id: str) -> None:
    """Removes an in-graph environment, or raises a `ValueError` if there is none."""
    if id not in _REGISTRY:
        raise ValueError(
            f"Only a registered id can be removed.{close_ids(id)} Received: id={id!r}"
        )
    del _REGISTRY[id]


def find(id: str) -> Registration | None:
    """Returns what an id stands for, if it is registered."""
    return _REGISTRY.get(id)


def close_ids(id: str, known: Iterable[str] | None = None) -> str:
    """Returns " Did you mean …?" with the ids closest to one, or nothing.

    They are of the same namespace; the name counts, and then the version. An id whose
    package has not been imported gets the package instead.
    """
    for start, (package, module) in _PACKAGES.items():
        if id.startswith(start):
            return (
                f" It is one of {package}: run `pip install {package}`, and type "
                f"'{module}:{id}'."
            )
    if known is None:
        known = {*_REGISTRY, *gymnasium.registry}
    space, _, name = id.rpartition("/")
    named: dict[str, list[str]] = {}
    for other in sorted(known):
        if other.rpartition("/")[0] == space:
            named.setdefault(_unversioned(other), []).append(other)
    bases = difflib.get_close_matches(_unversioned(id), named, n=5)
    ids = [other for base in bases for other in named[base]]
    close = difflib.get_close_matches(id, ids, n=5, cutoff=0.0)
    return f" Did you mean {', '.join(close)}?" if close else ""


def _unversioned(id: str) -> str:
    return re.sub(r"-v\d+$", "", id)


def _check_id(id: str) -> None:
    try:
        malformed = ":" in id or not parse_env_id(id)
    except (gymnasium.error.Error, TypeError):
        malformed = True
    if malformed:
        raise ValueError(
            "An id must be written as 'Name-v0' or 'namespace/Name-v0', without the "
            f"module. Received: id={id!r}"
        )


def _check_entry(entry: object) -> None:
    if isinstance(entry, str):
        wrong = not all(entry.partition(":"))
        hint = "Write it as 'module:Name'."
    elif isinstance(entry, type):
        wrong = not is_functional(entry) or bool(missing_methods(entry))
        hint = f"It lacks {', '.join(missing_methods(entry))}."
        if issubclass(entry, (gymnasium.Env, gymnasium.vector.VectorEnv)):
            hint = "Use `gymnasium.register` for environments of the host."
    else:
        wrong = not callable(entry)
        hint = "Give the class of an environment, or a function that makes one."
    if wrong:
        raise ValueError(
            "An entry must be a class derived from `kpg.environments.FunctionalEnv`, a "
            f"function that makes one, or 'module:Name' of either. {hint} Received: "
            f"entry={entry!r}"
        )


def _same(known: Factory | str, entry: Factory | str) -> bool:
    """Whether two entries are one: reloading a module makes a new, equal class."""
    if known == entry:
        return True
    one, other = (
        [getattr(entry, name, "") for name in ("__module__", "__qualname__")]
        for entry in (known, entry)
    )
    return one == other and one[1] != "" and not one[1].endswith("<lambda>")
