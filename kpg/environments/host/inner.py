"""What Gymnasium's environments keep inside, so that they can go on elsewhere.

Gymnasium has no such contract. kpg's has two methods, `kpg_state()` and
`set_kpg_state(state)`. A state is all that later steps depend on, random generators
too, and made of numbers, strings, bytes, arrays, lists, tuples and dictionaries. A
`SyncVectorEnv` asks its copies; every wrapper and every environment answers for itself.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any, TypeAlias

import gymnasium as gym
from gymnasium.vector import SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from kpg.types import Nest

Vector: TypeAlias = VectorEnv[Any, Any, Any]

# What Gymnasium's own keep from one step to the next, of those that it puts around.
_KEPT: dict[object, tuple[str, ...]] = {
    OrderEnforcing: ("_has_reset",),
    PassiveEnvChecker: ("checked_reset", "checked_step", "checked_render"),
    SyncVectorEnv: ("_autoreset_envs",),
    TimeLimit: ("_elapsed_steps",),
}
# Links to what is inside, ways to make it, and a function that `HostEnvironment` puts
# into vectors: none of them changes.
_LINKS = ("env", "envs", "env_fns", "_add_info")


def state(vector_env: Vector, pickled: bool = False) -> Nest:
    """Returns the state inside, or `None` if it cannot be told; see `missing`.

    With `pickled`, what has no `kpg_state` is pickled; a `ValueError` says if that
    fails.
    """
    if missing(vector_env) is None:
        return [_state_of(part) for part in _parts(vector_env)]
    if not pickled:
        return None
    try:
        return pickle.dumps([_state_of(part) for part in _parts(vector_env)])
    except Exception as error:  # any code of a user may run here
        raise ValueError(
            "`pickle_environments=True` needs environments that can be pickled; give "
            "them `kpg_state` and `set_kpg_state`, or leave it out, and episodes begin "
            f"anew. Received: {missing(vector_env)}, and {error}"
        ) from error


def set_state(vector_env: Vector, state: Nest) -> None:
    """Puts back what `state` returned; bytes are pickled and may run any code."""
    states = pickle.loads(state) if isinstance(state, bytes) else state
    for part, own in zip(_parts(vector_env), states, strict=True):
        if part.__class__ not in _KEPT and _answers(part):
            part.set_kpg_state(own)
        else:
            vars(part).update(own)


def missing(vector_env: Vector) -> str | None:
    """Returns the name of what has no `kpg_state`, or `None` if nothing lacks it."""
    for part in _parts(vector_env):
        if part.__class__ not in _KEPT and not _answers(part):
            return str(part.__class__.__name__)
    return None


def _parts(vector_env: Vector) -> Iterator[Any]:
    """Yields wrappers from the outside, and what they wrap; of copies, too."""
    inner: Any = vector_env
    while isinstance(inner, VectorWrapper):
        yield inner
        inner = inner.env
    yield inner
    # A weak reference has another type, but the same class.
    for env in inner.envs if inner.__class__ is SyncVectorEnv else ():
        while isinstance(env, gym.Wrapper):
            yield env
            env = env.env
        yield env


def _answers(part: Any) -> bool:
    """Whether a class itself has the methods: some wrappers pass on every name."""
    return all(hasattr(part.__class__, f"{verb}kpg_state") for verb in ("", "set_"))


def _state_of(part: Any) -> Nest:
    if part.__class__ in _KEPT:
        return {name: getattr(part, name) for name in _KEPT[part.__class__]}
    if _answers(part):
        return part.kpg_state()
    return {name: own for name, own in vars(part).items() if name not in _LINKS}
