"""How many steps an episode may last."""

from __future__ import annotations

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import TimeLimit

from kpg import checks

# Where an evaluation cuts an episode that no time limit ends.
LONGEST_EPISODE = 10_000


def time_limit(env: object) -> int | None:
    """Returns the steps after which an environment cuts an episode, `None` if unknown.

    It is that of Gymnasium's `TimeLimit` wrappers, which may be under others or around
    each copy of a vector environment, and of `max_episode_steps` of an environment or
    its `spec`. Of several limits the first counts, of several copies the longest.
    """
    name = "_max_episode_steps" if isinstance(env, TimeLimit) else "max_episode_steps"
    parts = [getattr(env, place, None) for place in ("env", "vector_env")]
    inside = [part for part in parts if isinstance(part, gym.Env | VectorEnv)]
    found = [getattr(env, name, None), _of_copies(env), *map(time_limit, inside)]
    if not inside:
        found.append(_of_spec(env))
    steps = [checks.plain(limit) for limit in found]
    return min((n for n in steps if isinstance(n, int) and n > 0), default=None)


def _of_copies(env: object) -> int | None:
    limits: list[int | None] = [None]
    if isinstance(env, SyncVectorEnv):
        limits = [time_limit(copy) for copy in env.envs]
    elif isinstance(env, AsyncVectorEnv):
        name = "_max_episode_steps"
        if all(env.call("has_wrapper_attr", name)):
            limits = list(env.get_attr(name))
    known = [limit for limit in limits if limit is not None]
    return max(known) if len(known) == len(limits) else None


def _of_spec(env: object) -> int | None:
    spec = getattr(env, "spec", None)
    made = isinstance(env, gym.Env | SyncVectorEnv | AsyncVectorEnv)
    if made and getattr(spec, "id", None) in gym.registry:
        return None  # `gymnasium.make` wrapped it, and `unwrapped` took that away
    limit: int | None = getattr(spec, "max_episode_steps", None)
    return limit
