"""Makes an `Environment` from an id or from whatever environment a user has."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import SyncVectorEnv, VectorEnv
from gymnasium.wrappers import TimeLimit

from kpg import checks
from kpg.classic_control import ENTRIES
from kpg.environments.environment import Environment
from kpg.environments.graph.functional import GraphEnvironment, is_functional
from kpg.environments.host.envpool import EnvPoolVectorEnv
from kpg.environments.host.processes import NEEDS_PROCESSES
from kpg.environments.host.vector import HostEnvironment, keep_known_infos
from kpg.environments.registry import IN_GRAPH, close_ids, find, register
from kpg.types import Config

Backend: TypeAlias = Literal["auto", "graph", "gymnasium", "envpool"]
Wrapper: TypeAlias = "Callable[[Any], gymnasium.Env[Any, Any]]"
BACKENDS: tuple[Backend, ...] = ("auto", "graph", "gymnasium", "envpool")

for _id, _entry in ENTRIES.items():
    register(_id, _entry)


def make(
    id: str,
    num_envs: int = 1,
    seed: int | None = None,
    backend: Backend = "auto",
    wrappers: Sequence[Wrapper] = (),
    max_episode_steps: int | None = None,
    **env_kwargs: object,
) -> Environment:
    """Makes `num_envs` copies of a registered environment.

    Args:
        id: Id in Gymnasium's registry or in that of `kpg.environments.register`;
            "module:Id-v0" imports the module first, and "envpool:Id-v0" is the id with
            `backend="envpool"`.
        num_envs: Number of copies ≥ 1. Defaults to 1.
        seed: Seed of the first reset. Defaults to `None`, the trainer's.
        backend: "graph" steps inside TensorFlow's graph (the ids in `IN_GRAPH`);
            "gymnasium" steps the environment's own vector version, else its copies one
            after another; "envpool" steps in EnvPool's threads and needs `pip install
            envpool`; "auto", the default, takes "graph" where it can, for an id of
            Gymnasium's only without wrappers and `env_kwargs`.
        wrappers: Gymnasium wrappers, applied to each copy in this order.
        max_episode_steps: Time limit, ≥ 1. `None`, the default, keeps the registered
            one.
        **env_kwargs: Arguments of the environment.

    Raises:
        ValueError: For an unknown id or backend, or what the backend cannot do.
        ImportError: If a package or the module of the id is missing.
    """
    if not isinstance(id, str):
        wanted = "must be a registered name; `fit` takes environments as they are, and "
        checks.refuse("id", wanted + "`kpg.environments.as_environment` copies", id)
    checks.choice("backend", backend, BACKENDS)
    num_envs = checks.whole_number("num_envs", num_envs)
    if "env_timeout" in env_kwargs:
        wanted = f"{NEEDS_PROCESSES}, or give `as_environment` one and its timeout"
        checks.refuse("env_timeout", wanted, env_kwargs["env_timeout"])
    for name in env_kwargs:
        for ours in checks.meant(name, ("num_envs", "seed")):
            raise ValueError(
                f"`{name}` is no argument of an environment. Did you mean {ours}? "
                f"Received: {name}={env_kwargs[name]!r}"
            )
    kwargs: Config = dict(env_kwargs)
    if max_episode_steps is not None:
        steps = checks.whole_number("max_episode_steps", max_episode_steps)
        kwargs["max_episode_steps"] = max_episode_steps = steps
    if backend == "envpool" or id.startswith("envpool:"):
        if backend not in ("auto", "envpool"):
            checks.refuse(
                "backend", f"must be left out: {id} is stepped by EnvPool", backend
            )
        _refuse_wrappers(wrappers, "EnvPool")
        name = id.removeprefix("envpool:")

        def pool(copies: int) -> VectorEnv[Any, Any, Any]:
            return EnvPoolVectorEnv(name, copies, **kwargs)

        return HostEnvironment(pool(num_envs), seed, make=pool)
    id = _imported(id)
    entry, registered = find(id), gymnasium.registry.get(id)
    plain = registered is None or not (wrappers or env_kwargs)
    if entry is not None and (backend == "graph" or (backend == "auto" and plain)):
        _refuse_wrappers(wrappers, "the graph")
        spec, func_env = entry.spec(id), entry.make(env_kwargs)
        graph = GraphEnvironment(func_env, num_envs, seed, spec, max_episode_steps)
        spec.max_episode_steps = graph.max_episode_steps
        return graph
    if registered is None or backend == "graph":
        raise _unknown(id, backend)

    def vector(copies: int) -> VectorEnv[Any, Any, Any]:
        return _make_vector(registered, copies, wrappers, kwargs)

    host = HostEnvironment(vector(num_envs), seed, make=vector)
    host.spec = copy.deepcopy(registered)
    host.spec.max_episode_steps = host.max_episode_steps
    return host


def as_environment(
    candidate: object,
    num_envs: int = 1,
    seed: int | None = None,
    max_episode_steps: int | None = None,
    env_timeout: float | None = None,
) -> Environment:
    """Turns whatever environment a user has into an `Environment`.

    Args:
        candidate: An `Environment` (returned as it is), an object in the style of
            `FuncEnv`, a `gymnasium.vector.VectorEnv`, a `gymnasium.Env`, or a class or
            function without arguments that makes one of them.
        num_envs: Copies ≥ 1; `Environment`s and `VectorEnv`s keep theirs.
        seed: Seed of the first reset. Defaults to `None`.
        max_episode_steps: Time limit, ≥ 1, of what has none: a `gymnasium.Env` or
            functional environment is given it, a `VectorEnv` must keep it itself.
            Defaults to `None`, the one that is found (see `kpg.limits`).
        env_timeout: Seconds that a reset or step of an `AsyncVectorEnv` may take; see
            `HostEnvironment`. Defaults to `None`, without end.

    Raises:
        ValueError: For anything else, several copies of a single `gymnasium.Env`,
            another time limit than the one in force, or a timeout of environments that
            are not processes.
    """
    num_envs = checks.whole_number("num_envs", num_envs)
    steps = max_episode_steps
    if isinstance(candidate, Environment):
        said = {"max_episode_steps": steps, "env_timeout": env_timeout}
        for name, value in said.items():
            if value is not None:
                wanted = "must be said where the environment is made"
                checks.refuse(name, wanted, value)
        return candidate
    if isinstance(candidate, VectorEnv):
        return HostEnvironment(candidate, seed, steps, env_timeout=env_timeout)
    if env_timeout is not None and not is_factory(candidate):
        checks.refuse("env_timeout", NEEDS_PROCESSES, env_timeout)
    if isinstance(candidate, gymnasium.Env):
        if num_envs != 1:
            raise ValueError(
                "One `gymnasium.Env` cannot be stepped as several copies; give the "
                f"function that makes it. Received: {candidate}, num_envs={num_envs}"
            )
        return _from_envs([lambda: candidate], candidate.spec, seed, steps)
    if not is_factory(candidate):
        return GraphEnvironment(candidate, num_envs, seed, max_episode_steps=steps)
    if not callable(candidate):
        raise ValueError(
            "An environment must be made by `kpg.make`, or be a `FuncEnv`, `VectorEnv` "
            "or `gymnasium.Env`, or a function without arguments that makes one. "
            f"Received: {candidate!r}"
        )
    first = candidate()
    if isinstance(first, gymnasium.Env) and not isinstance(first, VectorEnv):
        if env_timeout is not None:
            checks.refuse("env_timeout", NEEDS_PROCESSES, env_timeout)
        others = [candidate] * (num_envs - 1)
        return _from_envs([lambda: first, *others], first.spec, seed, steps)
    if callable(first) and not is_functional(first):
        raise ValueError(
            f"An environment's function must return one. Received: {first!r}"
        )
    return as_environment(first, num_envs, seed, steps, env_timeout)


def is_factory(candidate: object) -> bool:
    """Whether `as_environment` would call it to get an environment."""
    if isinstance(candidate, (Environment, VectorEnv, gymnasium.Env)):
        return False
    return isinstance(candidate, type) or not is_functional(candidate)


def _from_envs(
    factories: list[Callable[[], Any]],
    spec: EnvSpec | None,
    seed: int | None,
    steps: int | None,
) -> HostEnvironment:
    if steps is not None:
        limit = checks.whole_number("max_episode_steps", steps)
        factories = [_limited(factory, limit) for factory in factories]

    def vector(copies: int) -> VectorEnv[Any, Any, Any]:
        made = SyncVectorEnv(factories[len(factories) - copies :])
        if len({id(env.unwrapped) for env in made.envs}) < copies:
            raise ValueError(
                "An environment's function must make a new one at each call: copies "
                f"are stepped apart. Received: {made.envs[0]} for several of {copies} "
                "copies"
            )
        keep_known_infos(made)
        return made

    environment = HostEnvironment(vector(len(factories)), seed, steps, vector)
    environment.spec = spec
    return environment


def _limited(factory: Callable[[], Any], steps: int) -> Callable[[], Any]:
    return lambda: TimeLimit(factory(), steps)


def _imported(id: str) -> str:
    """Imports the module of "module:Id-v0", which registers the id; returns the id."""
    module, _, name = id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except Exception as error:  # any code of a user may run here
            raise ImportError(
                "The part of an id before ':' must be a module that can be imported; "
                f"install the package that holds it. Received: {id!r}, and importing "
                f"{module!r} raised {type(error).__name__}: {error}"
            ) from error
    return name


def _unknown(id: str, backend: str) -> ValueError:
    if find(id) is not None:
        return ValueError(
            f"{id} runs only inside the graph: leave out the backend. Received: "
            f"backend={backend!r}"
        )
    if id in gymnasium.registry:
        return ValueError(
            f"backend='graph' has only {', '.join(IN_GRAPH)}. Use backend='auto', or "
            f"`kpg.environments.register` one of your own. Received: id={id!r}"
        )
    return ValueError(
        "The id must be registered with Gymnasium or with `kpg.environments.register`."
        f"{close_ids(id)} `gymnasium.pprint_registry()` and `kpg list` list them, and "
        f"'module:id' imports the module that registers it. Received: id={id!r}"
    )


def _refuse_wrappers(wrappers: Sequence[Wrapper], place: str) -> None:
    if wrappers:
        raise ValueError(
            f"Gymnasium's wrappers cannot run inside {place}. Use backend='gymnasium', "
            f"or leave them out. Received: {len(wrappers)} wrappers"
        )


def _make_vector(
    spec: EnvSpec, num_envs: int, wrappers: Sequence[Wrapper], env_kwargs: Config
) -> VectorEnv[Any, Any, Any]:
    def made(mode: str, layers: list[Any]) -> VectorEnv[Any, Any, Any]:
        # `HostEnvironment` copies, too.
        options = {"copy": False} if mode == "sync" else None
        return gymnasium.make_vec(
            spec.id, num_envs, mode, options, layers, **env_kwargs
        )

    if spec.entry_point is None and wrappers:
        raise ValueError(
            f"{spec.id} exists only as a vector environment and takes no wrappers: "
            f"leave them out. Received: {len(wrappers)} wrappers"
        )
    try:
        if spec.vector_entry_point and not wrappers and not spec.additional_wrappers:
            try:
                return made("vector_entry_point", [])
            except TypeError:
                # A vector version need not know every argument of the single one.
                if spec.entry_point is None or not env_kwargs:
                    raise
        vector_env = made("sync", list(wrappers))
        keep_known_infos(vector_env)
        return vector_env
    except gymnasium.error.DependencyNotInstalled as error:
        raise ImportError(f"{spec.id} needs a missing package. {error}") from error
