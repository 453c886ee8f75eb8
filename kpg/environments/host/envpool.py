"""EnvPool's environments behind Gymnasium's vector interface.

Reference: Weng et al. (2022), "EnvPool: A Highly Parallel Reinforcement Learning
Environment Execution Engine", https://arxiv.org/abs/2206.10558.
"""

from __future__ import annotations

import importlib
import operator
import os
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import tensorflow as tf
from gymnasium.envs.registration import EnvSpec, registry
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from typing_extensions import override

from kpg import checks
from kpg.environments.host.vector import joined, replaced
from kpg.environments.registry import close_ids
from kpg.types import Array, Config, Nest

# The time limit of EnvPool's environments that have none.
_NO_LIMIT = 2**31 - 1


class EnvPoolVectorEnv(VectorEnv[Any, Any, Any]):
    """`num_envs` environments of EnvPool, of which `reset` resets those that ended.

    Three habits of EnvPool are corrected:

    - It resets in the step after an end, and ignores its action. Here `reset` with
      `options={"reset_mask": …}` does it, so that no step is lost.
    - An episode that terminates in the very step that reaches the time limit counts as
      truncated. Where Gymnasium puts the limit around the environment, EnvPool's is one
      step longer here, and this class truncates. Elsewhere the environment may know its
      limit (MiniGrid's reward depends on it), and it stays with EnvPool.
    - Seeds are fixed when a pool is made (42 by default), and those of the copies
      overlap. Here `reset(seed=…)` makes another pool, with a seed derived from it.

    Args:
        id: EnvPool's id of the environment.
        num_envs: Number of copies. Defaults to 1.
        num_pools: Number of pools, a divisor of `num_envs`: one steps while the policy
            acts for another, in the same episodes. Two are quicker where stepping takes
            about as long as acting and a CPU core is free. Defaults to 1.
        **env_kwargs: Arguments of `envpool.make`, such as `max_episode_steps` and
            `num_threads`, by default one for each CPU core, of all pools together.

    Attributes:
        parts: For each pool the slice of its copies.

    Raises:
        ImportError: If EnvPool is not installed.
        ValueError: If EnvPool has no such environment, or `num_pools` does not fit.
    """

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}
    _pools: Sequence[Any] = ()

    def __init__(
        self, id: str, num_envs: int = 1, num_pools: int = 1, **env_kwargs: object
    ) -> None:
        self._envpool = _loaded(id)
        default = self._envpool.make_spec(id, **env_kwargs).config
        limit = getattr(default, "max_episode_steps", _NO_LIMIT)
        limit = None if limit == _NO_LIMIT else limit
        registered = registry.get(id)
        outside = registered is not None and registered.max_episode_steps
        self._limit = limit if outside else None
        if self._limit:
            env_kwargs = {**env_kwargs, "max_episode_steps": self._limit + 1}
        if num_envs % checks.whole_number("num_pools", num_pools):
            checks.refuse("num_pools", f"must divide num_envs={num_envs}", num_pools)
        self.num_envs, size = num_envs, num_envs // num_pools
        self.parts = tuple(slice(n, n + size) for n in range(0, num_envs, size))
        self._make_kwargs = {"task_id": id, **_sizes(self.parts, env_kwargs)}
        self._pools = self._start(None)
        self._waiting = [False] * len(self.parts)
        self._observations: list[Any] = [None] * len(self.parts)
        threshold = getattr(default, "reward_threshold", None)
        self.spec = EnvSpec(id, reward_threshold=threshold, max_episode_steps=limit)
        self.single_observation_space = self._pools[0].observation_space
        self.single_action_space = self._pools[0].action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    @override
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets the copies where `options["reset_mask"]` (`[B]` bool) is true, or all.

        A step that has begun is finished first. Returns observations `[B, ...]`, of the
        other copies the last ones, and EnvPool's infos of the copies that were reset.
        """
        if seed is not None:
            self.close_extras()
            self._pools = self._start(seed)
        mask = (options or {}).get("reset_mask")
        infos = []
        for part, copies in enumerate(self.parts):
            if mask is None or mask[copies].any():
                rows = None if mask is None else np.flatnonzero(mask[copies])
                infos.append(self._reset_pool(part, rows))
        return joined(self._observations), joined(infos) if infos else {}

    @override
    def step(self, actions: Nest) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Steps all copies; the batch must be complete, or EnvPool ends the process."""
        for part, copies in enumerate(self.parts):
            own = tf.nest.map_structure(operator.itemgetter(copies), actions)
            self.step_async(own, part)
        results = [self.step_wait(part) for part in range(len(self.parts))]
        return tuple(map(joined, zip(*results, strict=True)))

    def step_async(self, actions: Nest, part: int) -> None:
        """Begins a step of `parts[part]`; the batch must be complete, as for `step`."""
        self._pools[part].send(actions)
        self._waiting[part] = True

    def step_wait(self, part: int) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Ends a step of one part; returns what `step` does, of its copies."""
        observations, rewards, terminated, truncated, infos = self._pools[part].recv()
        self._waiting[part] = False
        self._observations[part] = observations
        if self._limit is not None:
            truncated = truncated | (infos["elapsed_step"] >= self._limit)
        return observations, rewards, terminated, truncated & ~terminated, infos

    @override
    def close_extras(self, **kwargs: object) -> None:
        for part, pool in enumerate(self._pools):
            self._finish(part)
            pool.close()
        self._pools = ()

    def _reset_pool(self, part: int, rows: Array | None) -> Nest:
        """Resets the given rows of a part, or all of them; returns EnvPool's infos."""
        self._finish(part)
        pool = self._pools[part]
        if rows is None:
            self._observations[part], infos = pool.reset()
            return infos
        fresh, infos = pool.reset(rows.astype(np.int32))
        self._observations[part] = replaced(self._observations[part], rows, fresh)
        return infos

    def _finish(self, part: int) -> None:
        """Finishes an open step, whose result would be taken for that of the next."""
        if self._waiting[part]:
            self.step_wait(part)

    def _start(self, seed: int | None) -> list[Any]:
        mixed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        # EnvPool wants an int32, and adds the number of the copy.
        mixed %= 2**31 - self.num_envs
        with warnings.catch_warnings():
            # EnvPool writes bounds in float64 for its float32 spaces.
            warnings.filterwarnings("ignore", ".*precision lowered by casting.*")
            pools = [
                self._envpool.make(
                    env_type="gymnasium", seed=mixed + rows.start, **self._make_kwargs
                )
                for rows in self.parts
            ]
            # Spaces are made, and warn, when they are first asked for.
            _ = [(pool.observation_space, pool.action_space) for pool in pools]
        return pools


def _sizes(parts: tuple[slice, ...], env_kwargs: Config) -> Config:
    sizes = {**env_kwargs, "num_envs": parts[0].stop}
    if len(parts) > 1:
        has_affinity = hasattr(os, "sched_getaffinity")
        cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
        threads = env_kwargs.get("num_threads") or min(parts[-1].stop, cores)
        sizes["num_threads"] = max(1, threads // len(parts))
    return sizes


def _loaded(id: str) -> ModuleType:
    """Imports EnvPool and refuses an id that it does not have."""
    try:
        envpool = importlib.import_module("envpool")
    except ModuleNotFoundError as error:
        raise ImportError("EnvPool is missing. Run `pip install envpool`.") from error
    known = envpool.list_all_envs()
    if id not in known:
        raise ValueError(
            f"EnvPool must have the environment.{close_ids(id, known)} Call "
            f"`envpool.list_all_envs()`, or use backend='gymnasium'. Received: {id=}"
        )
    return envpool
