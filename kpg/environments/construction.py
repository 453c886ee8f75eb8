"""From an id, or from what a user has at hand, to an `Environment`."""

from __future__ import annotations

import copy
import difflib
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, registry
from gymnasium.vector import SyncVectorEnv, VectorEnv

from kpg.environments.environment import Environment, checked_num_envs
from kpg.environments.graph.classic_control import (
    Acrobot,
    CartPole,
    MountainCar,
    MountainCarContinuous,
    Pendulum,
)
from kpg.environments.graph.functional import (
    FunctionalEnv,
    GraphEnvironment,
    is_functional,
)
from kpg.environments.host.envpool import EnvPoolVectorEnv
from kpg.environments.host.vector import HostEnvironment

BACKENDS = ("auto", "graph", "gymnasium", "envpool")

_IN_GRAPH: dict[str, Callable[..., FunctionalEnv]] = {
    "Acrobot-v1": Acrobot,
    "CartPole-v1": CartPole,
    "MountainCar-v0": MountainCar,
    "MountainCarContinuous-v0": MountainCarContinuous,
    "Pendulum-v1": Pendulum,
}
IN_GRAPH = tuple(_IN_GRAPH)


def make(
    id: str,
    num_envs: int = 1,
    seed: int | None = None,
    backend: str = "auto",
    wrappers: Sequence[Callable[[Any], gymnasium.Env[Any, Any]]] = (),
    **env_kwargs: Any,
) -> Environment:
    """Makes `num_envs` copies of a registered environment.

    Args:
        id: Id in Gymnasium's registry; "module:Id-v0" imports the module first, and
            "envpool:Id-v0" is the id with `backend="envpool"`.
        num_envs: Number of copies ≥ 1. Defaults to 1.
        seed: Seed of the first reset. Defaults to `None`.
        backend: "graph" steps inside TensorFlow's graph (the ids in `IN_GRAPH`);
            "gymnasium" steps the environment's own vector version if it has one, else
            its copies one after another; "envpool" steps the copies in EnvPool's
            threads, which needs `pip install envpool`; "auto" takes "graph" where it
            can, that is without wrappers and without arguments other than
            `max_episode_steps`. Defaults to "auto".
        wrappers: Gymnasium wrappers, applied to each copy in this order.
        **env_kwargs: Arguments of the environment; `max_episode_steps` replaces the
            registered time limit.

    Returns:
        An `Environment`.

    Raises:
        ValueError: If the id or the backend is unknown, `num_envs` is no positive
            integer, or the backend has no such environment or takes no wrappers.
        ImportError: If the environment or the backend needs a package that is missing.

    Example:
        >>> make("MountainCar-v0", num_envs=16, seed=0).spec.reward_threshold
        -110.0
    """
    if backend not in BACKENDS:
        raise ValueError(f"`backend` must be one of {BACKENDS}. Received: {backend!r}")
    checked_num_envs(num_envs)
    if backend == "envpool" or id.startswith("envpool:"):
        if backend not in ("auto", "envpool"):
            raise ValueError(
                f"{id!r} is stepped by EnvPool. Received: backend={backend!r}. Leave "
                "out the backend, or the 'envpool:'."
            )
        return _make_envpool(id, num_envs, seed, wrappers, env_kwargs)
    spec = _find_spec(id, env_kwargs)
    plain = not wrappers and set(env_kwargs) <= {"max_episode_steps"}
    if backend == "graph" or (backend == "auto" and plain and spec.id in _IN_GRAPH):
        return _make_graph(spec, num_envs, seed, wrappers, env_kwargs)
    vector_env = _make_vector(spec, num_envs, wrappers, env_kwargs)
    environment = HostEnvironment(vector_env, seed)
    environment.spec = spec
    return environment


def as_environment(
    candidate: Any, num_envs: int = 1, seed: int | None = None
) -> Environment:
    """Turns what a user has at hand into an `Environment`.

    Args:
        candidate: An `Environment` (returned as it is), an object in the style of
            `FuncEnv`, a `gymnasium.vector.VectorEnv`, a `gymnasium.Env`, or a class or
            function without arguments that makes one of them.
        num_envs: Number of copies ≥ 1; an `Environment` or a `VectorEnv` keeps its own.
            Defaults to 1.
        seed: Seed of the first reset. Defaults to `None`.

    Returns:
        An `Environment`.

    Raises:
        ValueError: If nothing of the above was given, or several copies of a single
            `gymnasium.Env`.
    """
    checked_num_envs(num_envs)
    if isinstance(candidate, Environment):
        return candidate
    if isinstance(candidate, VectorEnv):
        return HostEnvironment(candidate, seed)
    if isinstance(candidate, gymnasium.Env):
        if num_envs != 1:
            raise ValueError(
                "One `gymnasium.Env` cannot be stepped as several copies; give the "
                f"function that makes it. Received: {candidate}, num_envs={num_envs}"
            )
        return _from_envs([lambda: candidate], candidate.spec, seed)
    if not isinstance(candidate, type) and is_functional(candidate):
        return GraphEnvironment(candidate, num_envs, seed)
    if not callable(candidate):
        raise ValueError(
            "An environment must be made by `kpg.make`, or be a `FuncEnv`, a "
            "`gymnasium.vector.VectorEnv`, a `gymnasium.Env`, or a function without "
            f"arguments that makes one of them. Received: {candidate!r}"
        )
    first = candidate()
    if isinstance(first, gymnasium.Env) and not isinstance(first, VectorEnv):
        others = [candidate] * (num_envs - 1)
        return _from_envs([lambda: first, *others], first.spec, seed)
    if callable(first) and not is_functional(first):
        raise ValueError(
            "The function given as an environment must return one. Received: it "
            f"returned {first!r}"
        )
    return as_environment(first, num_envs, seed)


def _from_envs(
    factories: list[Callable[[], Any]], spec: EnvSpec | None, seed: int | None
) -> HostEnvironment:
    environment = HostEnvironment(SyncVectorEnv(factories), seed)
    environment.spec = spec
    return environment


def _find_spec(id: str, env_kwargs: dict[str, Any]) -> EnvSpec:
    """Copies the registered spec, with the time limit that the user wants."""
    module, _, name = id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise ImportError(
                f"The part of an environment id before ':' is a module to import. "
                f"Received: {id!r}. {error}; install the package that holds it."
            ) from error
    if name not in registry:
        close = difflib.get_close_matches(name, registry, n=5, cutoff=0.5)
        hint = f"Did you mean {', '.join(close)}? " if close else ""
        raise ValueError(
            f"The environment must be registered with Gymnasium. Received: id={id!r}. "
            f"{hint}`gymnasium.pprint_registry()` lists all; 'module:id' imports the "
            "module that registers it."
        )
    spec = copy.deepcopy(registry[name])
    spec.max_episode_steps = _time_limit(env_kwargs, spec.max_episode_steps)
    return spec


def _time_limit(env_kwargs: dict[str, Any], registered: int | None = None) -> Any:
    """Returns the user's time limit or the registered one."""
    steps = env_kwargs.get("max_episode_steps", registered)
    if steps is not None and (not isinstance(steps, int) or steps < 1):
        raise ValueError(
            "`max_episode_steps` must be a positive integer. Received: "
            f"max_episode_steps={steps!r}"
        )
    return steps


def _make_graph(
    spec: EnvSpec,
    num_envs: int,
    seed: int | None,
    wrappers: Sequence[Any],
    env_kwargs: dict[str, Any],
) -> GraphEnvironment:
    if spec.id not in _IN_GRAPH:
        raise ValueError(
            f"backend='graph' has only {', '.join(IN_GRAPH)}. Received: "
            f"id={spec.id!r}. Use backend='auto', or a `FunctionalEnv` of your own."
        )
    if wrappers:
        raise ValueError(
            "Gymnasium's wrappers cannot run inside the graph. Received: "
            f"{len(wrappers)} wrappers with backend='graph'. Use backend='gymnasium'."
        )
    own = {key: env_kwargs[key] for key in env_kwargs if key != "max_episode_steps"}
    return GraphEnvironment(_IN_GRAPH[spec.id](**own), num_envs, seed, spec)


def _make_vector(
    spec: EnvSpec, num_envs: int, wrappers: Sequence[Any], env_kwargs: dict[str, Any]
) -> VectorEnv[Any, Any, Any]:
    """Makes Gymnasium's vector environment, its own vector version if it has one."""
    own_version = bool(spec.vector_entry_point)
    if spec.entry_point is None and wrappers:
        raise ValueError(
            f"{spec.id} exists only as a vector environment and takes no wrappers. "
            f"Received: {len(wrappers)} wrappers. Leave them out."
        )
    if own_version and not wrappers and not spec.additional_wrappers:
        try:
            return _make_vec(spec, "vector_entry_point", num_envs, (), env_kwargs)
        except TypeError:
            # A vector version need not know every argument of the single one.
            if spec.entry_point is None or not env_kwargs:
                raise
    return _make_vec(spec, "sync", num_envs, wrappers, env_kwargs)


def _make_vec(
    spec: EnvSpec,
    mode: str,
    num_envs: int,
    wrappers: Sequence[Any],
    env_kwargs: dict[str, Any],
) -> VectorEnv[Any, Any, Any]:
    # `HostEnvironment` copies, too.
    options = {"copy": False} if mode == "sync" else None
    try:
        return gymnasium.make_vec(
            spec.id, num_envs, mode, options, list(wrappers), **env_kwargs
        )
    except gymnasium.error.DependencyNotInstalled as error:
        raise ImportError(f"{spec.id} needs a missing package. {error}") from error


def _make_envpool(
    id: str,
    num_envs: int,
    seed: int | None,
    wrappers: Sequence[Any],
    env_kwargs: dict[str, Any],
) -> HostEnvironment:
    if wrappers:
        raise ValueError(
            "Gymnasium's wrappers cannot run inside EnvPool. Received: "
            f"{len(wrappers)} wrappers with backend='envpool'. Use "
            "backend='gymnasium', or leave them out."
        )
    _time_limit(env_kwargs)
    name = id.removeprefix("envpool:")
    return HostEnvironment(EnvPoolVectorEnv(name, num_envs, **env_kwargs), seed)
