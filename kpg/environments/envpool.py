"""EnvPool's environments behind Gymnasium's vector interface.

Reference: Weng et al. (2022), "EnvPool: A Highly Parallel Reinforcement Learning
Environment Execution Engine", https://arxiv.org/abs/2206.10558.
"""

from __future__ import annotations

import difflib
import importlib
import warnings
from typing import Any

import numpy as np
import tensorflow as tf
from gymnasium.envs.registration import EnvSpec, registry
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

# What EnvPool's environments without a time limit have as theirs.
_NO_LIMIT = 2**31 - 1


class EnvPoolVectorEnv(VectorEnv[Any, Any, Any]):
    """`num_envs` environments of EnvPool, of which `reset` resets those that ended.

    Three habits of EnvPool are put right:

    - After an end it resets in the next step, whose action it ignores. Here `reset`
      with `options={"reset_mask": …}` does it, so that no step is lost.
    - An episode that terminates in the very step that reaches the time limit counts as
      truncated there. Where Gymnasium puts the limit around the environment, EnvPool's
      is one step longer here, and this class truncates. Elsewhere the environment may
      know its limit (MiniGrid's reward depends on it), and it stays with EnvPool.
    - Seeds are fixed when a pool is made (else always 42), and the copies of seed 1 are
      those of seed 0, moved by one. Here `reset(seed=…)` makes another pool, with a
      seed that is mixed from the given one.

    Args:
        id: EnvPool's id of the environment.
        num_envs: Number of copies.
        **env_kwargs: Arguments of `envpool.make`, such as `max_episode_steps` and
            `num_threads`.

    Raises:
        ImportError: If EnvPool is not installed.
        ValueError: If EnvPool has no such environment.
    """

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}
    _pool: Any = None

    def __init__(self, id: str, num_envs: int = 1, **env_kwargs: Any) -> None:
        self._envpool = _import_envpool()
        _check_id(id, self._envpool.list_all_envs())
        default = self._envpool.make_spec(id, **env_kwargs).config
        limit = getattr(default, "max_episode_steps", _NO_LIMIT)
        limit = None if limit == _NO_LIMIT else limit
        registered = registry.get(id)
        self._limit = None
        if limit and registered is not None and registered.max_episode_steps:
            self._limit = limit
            env_kwargs = {**env_kwargs, "max_episode_steps": limit + 1}
        self._make_kwargs = {"task_id": id, "num_envs": num_envs, **env_kwargs}
        self.num_envs = num_envs
        self._pool = self._start(None)
        self._observations: Any = None
        threshold = getattr(default, "reward_threshold", None)
        self.spec = EnvSpec(id, reward_threshold=threshold, max_episode_steps=limit)
        self.single_observation_space = self._pool.observation_space
        self.single_action_space = self._pool.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets the copies where `options["reset_mask"]` is true, or all.

        Args:
            seed: Seed of all copies, or `None` to go on with the randomness.
            options: May hold "reset_mask", `[B]` bool. Defaults to `None`.

        Returns:
            Observations `[B, ...]`, of the other copies the last ones, and EnvPool's
            infos of the copies that were reset.
        """
        if seed is not None:
            self._pool = self._start(seed)
        mask = (options or {}).get("reset_mask")
        if mask is None:
            self._observations, infos = self._pool.reset()
            return self._observations, infos
        rows = np.flatnonzero(mask).astype(np.int32)
        fresh, infos = self._pool.reset(rows)

        def replaced(last: np.ndarray, row: np.ndarray) -> np.ndarray:
            last = last.copy()
            last[rows] = row
            return last

        self._observations = tf.nest.map_structure(replaced, self._observations, fresh)
        return self._observations, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """See `gymnasium.vector.VectorEnv.step`.

        The batch must be complete: EnvPool ends the process for a wrong number of
        actions, which `HostEnvironment` refuses before.
        """
        self._observations, rewards, terminated, truncated, infos = self._pool.step(
            actions
        )
        if self._limit is not None:
            truncated = truncated | (infos["elapsed_step"] >= self._limit)
        return self._observations, rewards, terminated, truncated & ~terminated, infos

    def close_extras(self, **kwargs: Any) -> None:
        """See `gymnasium.vector.VectorEnv.close_extras`."""
        if self._pool is not None:
            self._pool.close()

    def _start(self, seed: int | None) -> Any:
        mixed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        # EnvPool wants an int32, and adds the number of the copy.
        mixed %= 2**31 - self.num_envs
        with warnings.catch_warnings():
            # EnvPool writes bounds in float64 for its float32 spaces.
            warnings.filterwarnings("ignore", ".*precision lowered by casting.*")
            pool = self._envpool.make(
                env_type="gymnasium", seed=mixed, **self._make_kwargs
            )
            # Spaces are made, and warn, when they are first asked for.
            _ = pool.observation_space, pool.action_space
        return pool


def _import_envpool() -> Any:
    try:
        return importlib.import_module("envpool")
    except ModuleNotFoundError as error:
        raise ImportError(
            "EnvPool is not installed. Run `pip install envpool`."
        ) from error


def _check_id(id: str, known: list[str]) -> None:
    """Refuses an id that EnvPool does not have, and names close ones."""
    if id in known:
        return
    close = difflib.get_close_matches(id, known, n=5, cutoff=0.5)
    hint = f"Did you mean {', '.join(close)}? " if close else ""
    raise ValueError(
        f"EnvPool must have the environment. Received: id={id!r}. {hint}"
        "`envpool.list_all_envs()` lists all; backend='gymnasium' has others."
    )
