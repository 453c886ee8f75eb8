"""Gymnasium's vector environments behind one contract for all autoreset modes."""

from __future__ import annotations

import functools
import operator
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

import gymnasium as gym
import numpy as np
import tensorflow as tf
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array
from typing_extensions import override

from kpg import checks, spaces
from kpg.environments.environment import Environment
from kpg.environments.host import inner
from kpg.environments.host.processes import GONE, watched
from kpg.environments.partner import Partner
from kpg.limits import time_limit
from kpg.types import Array, Nest, Space

Infos: TypeAlias = dict[str, Any]

_RETURNS = {
    "reset": "take `seed` and `options`, and return (observation, info)",
    "step": "return (observation, reward, terminated, truncated, info)",
}
# Beyond it is inf in float32, in which models compute.
_MOST = float(np.finfo(np.float32).max)
# Below it float32 has three binary digits after the point. A column is refused if
# float32 changes it by a share of its span that is more than the rounding of float64.
_EXACT, _LOST, _NOISE = 2.0**20, 0.05, 1e-12
_CALLERS = tuple(f"gymnasium.{x}" for x in ("core", "utils", "vector", "wrappers"))
_READ = ("action_mask", "final_obs")


class HostStep(NamedTuple):
    """What one step of every copy led to.

    Attributes:
        observations: `[B, ...]` what to act on next, a nest of arrays as
            `kpg.spaces.encode` makes them; after a reset, that of the reset.
        next_observations: `[B, ...]` the true next observation of this step: where an
            episode ended the final one. Meaningless where `valid` is false; the nest
            `observations` itself if all rows agree.
        rewards: `[B]` float32.
        terminated: `[B]` bool; nothing follows.
        truncated: `[B]` bool; the episode was cut. Never together with `terminated`.
        valid: `[B]` bool; `False` where the environment was only reset and ignored the
            action, so that the row is not a step.
        scored: `[B]` bool; `False` where an episode ended whose return nobody knows, so
            that nothing is learned from it: the environment's `unscored`, if it has it.
    """

    observations: Nest
    next_observations: Nest
    rewards: Array
    terminated: Array
    truncated: Array
    valid: Array
    scored: Array


class _Parted(Protocol):
    """A vector environment whose copies can be stepped in parts."""

    parts: tuple[slice, ...]

    def step_async(self, actions: Nest, part: int) -> None: ...

    def step_wait(self, part: int) -> tuple[Nest, Array, Array, Array, Infos]: ...


class HostEnvironment(Environment):
    """A `gymnasium.vector.VectorEnv` that looks the same in every autoreset mode.

    - NEXT_STEP: the final observation comes with the end, and the next call of `step`
      ignores the action and resets; that row has `valid=False`.
    - SAME_STEP: the reset happens at once; the final observation is in `infos`.
    - DISABLED: nothing resets by itself; `step` resets the rows that ended.

    A vector environment whose copies can be stepped while a policy acts for others has
    equal slices of its copies in `parts`, and `step_async(actions, part)` and
    `step_wait(part)`, which begin and end a step of one, as `EnvPoolVectorEnv`.

    Reference: https://farama.org/Vector-Autoreset-Mode.

    Args:
        vector_env: The environments. `metadata["autoreset_mode"]` says their mode, and
            `metadata["truncates"]` may say False: see `Environment.truncates`.
        seed: Seed of the first reset. Defaults to `None`: a trainer's, else Gymnasium's
            own choice.
        max_episode_steps: The time limit that the environments keep, where none is
            found; see `kpg.limits`. Defaults to `None`.
        make: Makes the vector environment with another number of copies, so that
            several workers can split them. `kpg.make` gives it. Defaults to `None`.
        env_timeout: Seconds that a reset or step of all copies may take, > 0, of a
            `gymnasium.vector.AsyncVectorEnv`; after them its processes are ended, and a
            `TimeoutError` names the copies that hang. Defaults to `None`: no end.

    Infos are not read, but for final observations. In Gymnasium's own vector
    environments those that cannot be stacked become arrays of objects.

    Attributes:
        parts: Slices of the copies that are stepped separately; by default one of all.
        calls: How often it was reset or stepped, by whomever: what has been collected
            goes on only while this number is as it was.

    Raises:
        ValueError: If the autoreset mode is unknown, a space is not supported, the
            time limit is another one, or `env_timeout` is given for environments that
            are not processes, which nothing can interrupt.
    """

    def __init__(
        self,
        vector_env: VectorEnv[Any, Any, Any],
        seed: int | None = None,
        max_episode_steps: int | None = None,
        make: Callable[[int], VectorEnv[Any, Any, Any]] | None = None,
        env_timeout: float | None = None,
    ) -> None:
        self.vector_env = vector_env
        self._make, self._said_limit = make, max_episode_steps
        self._own: HostEnvironment | None = None
        _stack_any_infos(vector_env)
        self.autoreset_mode = mode_of(vector_env)
        self.truncates = bool(vector_env.metadata.get("truncates", True))
        self.num_envs = vector_env.num_envs
        has_parts = hasattr(vector_env, "parts")  # Gymnasium's own class has none
        self._parted = cast(_Parted, vector_env) if has_parts else None
        self.parts = self._parted.parts if self._parted else (slice(0, self.num_envs),)
        self.seed = checks.seed(seed)
        # EnvPool's own environments have a `spec` of another kind.
        spec = vector_env.spec
        self.spec = spec if isinstance(spec, EnvSpec) else None
        self.observation_space = vector_env.single_observation_space
        self.action_space = vector_env.single_action_space
        spaces.check(self.observation_space, "observation")
        spaces.check(self.action_space, "action")
        paths = [path for path, _ in spaces.leaves(self.observation_space)]
        indices = ("".join(f"[{key!r}]" for key in path) for path in paths)
        self._names = [f"observations{index}" for index in indices]
        self._first_seed = self.seed
        self._ended = np.zeros(vector_env.num_envs, bool)
        self._begun = False
        self.calls = 0
        self._max_episode_steps = _checked_limit(vector_env, max_episode_steps)
        self._sent: Nest = None
        self._closed = False
        self._processes = watched(vector_env, self.name, env_timeout)

    @property
    @override
    def name(self) -> str:
        inner = getattr(self.vector_env, "unwrapped", self.vector_env)
        copies = getattr(inner, "envs", None)
        own = copies[0].unwrapped if copies else inner
        return self.spec.id if self.spec else type(own).__name__

    @property
    @override
    def max_episode_steps(self) -> int | None:
        limit, spec = self._max_episode_steps, self.spec
        if limit is None and spec is not None and spec.id not in gym.registry:
            limit = spec.max_episode_steps  # a spec that somebody wrote for it
        return limit

    def reset(self, seed: int | None = None) -> Nest:
        """Starts a new episode in every copy; returns observations `[B, ...]`.

        The seed defaults to that of the constructor the first time, then to none.
        """
        seed = self._first_seed if seed is None else checks.seed(seed)
        self._first_seed = None
        self.calls += 1
        observations = self._reset(seed=seed)
        self._ended[:] = False
        self._begun = True
        return observations

    def step(self, actions: Nest) -> HostStep:
        """Steps every copy, and resets those whose episode has ended.

        `actions` `[B, ...]` are in a dictionary or tuple for a `Dict` or `Tuple` space.

        Raises:
            ValueError: If `reset` was never called, or the number or structure of the
                actions is wrong; and if the environment breaks Gymnasium's contract, or
                an observation or reward is not finite in float32 or not in its space.
        """
        batch = self._batch(actions, self.num_envs)
        if len(self.parts) == 1:
            self._begin(batch, 0)
            return self.receive()
        for part, rows in enumerate(self.parts):
            own = tf.nest.map_structure(operator.itemgetter(rows), batch)
            self._begin(own, part)
        received = [self.receive(part) for part in range(len(self.parts))]
        return HostStep(*(joined(field) for field in zip(*received, strict=True)))

    def send(self, actions: Nest, part: int = 0) -> None:
        """Begins a step of the copies `parts[part]`; see `step`. `receive` ends it."""
        rows = self.parts[part]
        self._begin(self._batch(actions, rows.stop - rows.start), part)

    def receive(self, part: int = 0) -> HostStep:
        """Ends a step that `send` began, and resets the copies whose episode ended."""
        rows = self.parts[part]
        if self._parted is None:
            result = self._call("step", self.vector_env.step, self._sent)
        else:
            result = self._call("step", self._parted.step_wait, part)
        observations, *flags, infos = self._of_length(5, "step", result)
        observations = self._encode(observations, "step", rows.start)
        rewards, terminated, truncated = map(np.asarray, flags)
        shapes = rewards.shape, terminated.shape, truncated.shape
        if rewards.dtype.kind not in "fiub" or {*shapes} != {(rows.stop - rows.start,)}:
            raise self._broken("step", f"rewards, terminated, truncated of {shapes}")
        self._check_finite(rewards, "rewards", "step", rows.start)
        terminated = terminated.astype(bool)
        truncated = truncated.astype(bool) & ~terminated
        ended = terminated | truncated
        valid = np.ones(len(ended), bool)
        next_observations = observations
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            valid = ~self._ended[rows]
        elif ended.any():
            next_observations, observations = self._reset_rows(
                observations, ended, infos, rows
            )
        self._ended[rows] = ended
        rewards = rewards.astype(np.float32)
        scored = ~getattr(self.vector_env, "unscored", np.zeros(self.num_envs, bool))
        return HostStep(
            observations,
            next_observations,
            rewards,
            terminated,
            truncated,
            valid,
            scored[rows],
        )

    def check_digits(self, observations: Nest) -> None:
        """Refuses `[T, B, ...]` whose differences are lost in float32.

        That is so far from 0: float32 tells no Unix second from the next 127.
        """
        leaves = spaces.leaves(self.observation_space)
        arrays = tf.nest.flatten(observations)
        for name, (_, space), rows in zip(self._names, leaves, arrays, strict=True):
            fits = np.can_cast(rows.dtype, np.float32) or np.abs(rows).max() < _EXACT
            if fits or not isinstance(space, gym.spaces.Box):
                continue
            columns = rows.reshape(rows.shape[0] * rows.shape[1], -1).astype(float)
            errors = np.abs(columns - columns.astype(np.float32)).max(axis=0)
            span, most = np.ptp(columns, axis=0), np.abs(columns).max(axis=0)
            lost = (errors > _LOST * span) & (span > _NOISE * most)
            if lost.any():
                column = np.flatnonzero(lost)[0]
                raise ValueError(
                    f"{self.name} gave {name} that a network, which computes in "
                    "float32, cannot tell apart. Train with `normalize_observations="
                    "True`, which subtracts the mean in float64, or subtract it in a "
                    "gymnasium.wrappers.TransformObservation. Received: numbers about "
                    f"{most[column]:g} that differ by {span[column]:g}"
                )

    def _begin(self, batch: Nest, part: int) -> None:
        self.calls += 1
        if self._parted is None:
            self._sent = batch
        else:
            self._parted.step_async(batch, part)

    def state(self, pickled: bool = False) -> Nest:
        """Returns where the episodes are, or `None` if that cannot be told.

        See `kpg.environments.host.inner`, also for `pickled`.
        """
        kept = inner.state(self.vector_env, pickled)
        return None if kept is None else {"inner": kept, "ended": self._ended.copy()}

    def set_state(self, state: Nest) -> None:
        """Goes on where another one was when it returned its `state`."""
        inner.set_state(self.vector_env, state["inner"])
        self._ended, self._begun, self._first_seed = state["ended"], True, None

    def leave_out(self, copies: Array) -> None:
        """Says of which copies, `[B]` bool, nobody learns, nor shall `measured` tell.

        Of use to environments that have a `left_out`.
        """
        vector_env: Any = self.vector_env
        if hasattr(vector_env, "left_out"):
            vector_env.left_out = copies.copy()

    @override
    def measured(self) -> dict[str, float]:
        return dict(getattr(self.vector_env, "measured", dict)())

    @override
    def share(self, worker: int, workers: int) -> HostEnvironment:
        """See `Environment.share`: environments of its own, made anew."""
        if workers == 1:
            return self
        if self._make is None or self.num_envs % workers:
            raise ValueError(
                "Each worker steps its share of `num_envs`, which the workers must "
                "divide, in environments that can be made with any number of copies: "
                "give `fit` what `kpg.make` returns, or "
                "`kpg.environments.HostEnvironment(vector_env, make=…)`. Received: "
                f"num_envs={self.num_envs}, {workers} workers, make={self._make}"
            )
        if self._own is None:
            vector_env = self._make(self.num_envs // workers)
            self._own = HostEnvironment(vector_env, self.seed, self._said_limit)
            self._own.spec = self.spec
        return self._own

    @override
    def partner(self) -> Partner | None:
        partner: Partner | None = getattr(self.vector_env, "partner", lambda: None)()
        return partner

    @override
    def close(self) -> None:
        if not self._closed:
            self.vector_env.close()
            if self._own is not None:
                self._own.close()
        self._closed = True

    def _reset_rows(
        self, observations: Nest, ended: Array, infos: Infos, part: slice
    ) -> tuple[Nest, Nest]:
        """Returns the true next observations and those to act on after the resets."""
        if self.autoreset_mode is AutoresetMode.DISABLED:
            mask = np.zeros(self.num_envs, bool)
            mask[part] = ended
            fresh = self._reset(options={"reset_mask": mask})
            if len(self.parts) > 1:
                fresh = tf.nest.map_structure(operator.itemgetter(part), fresh)
            return observations, fresh
        if (finals := infos.get("final_obs")) is None:
            raise ValueError(
                "A vector environment with SAME_STEP autoreset must give `infos"
                f'["final_obs"]` when an episode ends. Received: {sorted(infos)}'
            )
        rows, space = np.flatnonzero(ended), self.observation_space
        empty: Any = create_empty_array(space, len(rows), np.empty)
        own = [finals[row] for row in rows]
        batch = self._encode(self._call("step", concatenate, space, own, empty), "step")
        return replaced(observations, rows, batch), observations

    def _reset(self, **arguments: Any) -> Nest:
        reset = functools.partial(self.vector_env.reset, **arguments)
        result = self._of_length(2, "reset", self._call("reset", reset))
        return self._encode(result[0], "reset")

    def _of_length(self, length: int, method: str, result: Any) -> Any:
        """Refuses what is not as many things as wanted, the last a dictionary."""
        several = isinstance(result, (tuple, list))
        if several and len(result) == length and isinstance(result[-1], Mapping):
            return result
        parts = [type(part).__name__ for part in result] if several else []
        raise self._broken(
            method,
            f"{type(result).__name__} {parts}; the last must be a dictionary, as it is "
            "without the wrapper `DictInfoToList`",
        )

    def _call(self, method: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a method, and says whose it is if it breaks Gymnasium's contract."""
        try:
            return function(*arguments)
        except GONE as error:
            if self._processes is None:
                raise
            raise self._processes.gone() from error
        except Exception as error:  # any code of a user may run here
            if isinstance(error, gym.error.Error) or not _in_gymnasium(error):
                raise
            raise self._broken(method, f"{type(error).__name__}: {error}") from error

    def _broken(self, method: str, why: str) -> ValueError:
        return ValueError(
            f"`{method}` of {self.name} breaks Gymnasium's contract: each copy must "
            f"{_RETURNS[method]}, with one number as the reward and observations as "
            f"their space says. Correct or wrap it. Received: {why}"
        )

    def _encode(self, observations: Nest, method: str, first: int = 0) -> Nest:
        """Copies a batch: some environments write the next one into the same array."""
        try:
            encoded = spaces.encode(self.observation_space, observations)
        except (KeyError, TypeError, ValueError) as error:
            raise self._broken(method, str(error)) from error
        plain = isinstance(encoded, np.ndarray)
        leaves = [encoded] if plain else tf.nest.flatten(encoded)
        for name, leaf in zip(self._names, leaves, strict=True):
            self._check_finite(leaf, name, method, first)
        return encoded

    def _batch(self, actions: Nest, count: int) -> Nest:
        if not self._begun:
            raise ValueError("Call `reset` before `step`. Received: no reset so far.")
        return self._shaped(self.action_space, actions, count)

    def _shaped(self, space: Space, actions: Nest, count: int) -> Nest:
        """Gives actions the structure and dtypes of the space, which many check."""
        if space.shape is not None:
            values = np.asarray(actions, space.dtype)
            wanted = (count, *space.shape)
            if values.shape == wanted:
                return values
            raise ValueError(
                f"`actions` must have the shape {wanted}, one {space} for each of the "
                f"{count} environments. Received: shape {values.shape}"
            )
        if isinstance(space, gym.spaces.Dict) and isinstance(actions, Mapping):
            if {*actions} == {*space}:
                return {k: self._shaped(space[k], actions[k], count) for k in space}
        elif isinstance(space, gym.spaces.Tuple) and isinstance(actions, (tuple, list)):
            if len(actions) == len(space.spaces):
                parts = zip(space.spaces, actions, strict=True)
                return tuple(self._shaped(part, rows, count) for part, rows in parts)
        keys = sorted(actions) if isinstance(actions, Mapping) else type(actions)
        raise ValueError(
            f"`actions` must be a nest of batches like {self.action_space}. Received: "
            f"{keys}"
        )

    def _check_finite(self, values: Array, name: str, method: str, first: int) -> None:
        """Refuses what is inf or nan in float32: it would make every weight nan."""
        if values.dtype.kind != "f":
            return
        wide = values.dtype.itemsize > 4
        finite = np.abs(values) <= _MOST if wide else np.isfinite(values)
        if finite.all():
            return
        rows = np.flatnonzero(~finite.reshape(len(values), -1).all(axis=1))
        raise ValueError(
            f"{self.name} gave {name} that are not finite in float32, in `{method}`; "
            "correct it or wrap it. Received: inf or nan in rows "
            f"{(first + rows[:8]).tolist()} of {self.num_envs}"
        )


def _checked_limit(env: VectorEnv[Any, Any, Any], said: int | None) -> int | None:
    found = time_limit(env)
    if said is None:
        return found
    if found is not None and found != said:
        wanted = f"must be that of the environment, {found}; omit it"
        checks.refuse("max_episode_steps", wanted, said)
    return checks.whole_number("max_episode_steps", said)


def _stack_any_infos(vector_env: VectorEnv[Any, Any, Any]) -> None:
    """Lets Gymnasium's own vector environments take every info of their copies."""
    stacking = getattr(vector_env, "unwrapped", vector_env)
    if getattr(type(stacking), "_add_info", None) is VectorEnv._add_info:
        if "_add_info" not in vars(stacking):
            vars(stacking)["_add_info"] = functools.partial(_add_info, stacking)


def keep_known_infos(vector_env: VectorEnv[Any, Any, Any]) -> None:
    """Lets a vector environment that nobody else has leave out what kpg never reads."""

    def add(infos: Infos, info: Infos, row: int) -> Infos:
        known = {name: info[name] for name in _READ if name in info}
        return _add_info(vector_env, infos, known, row)

    vars(vector_env)["_add_info"] = add


def _add_info(vector_env: Any, infos: Infos, info: Infos, row: int) -> Infos:
    """Adds one copy's info; Gymnasium refuses what differs from the first in shape."""
    for name, value in info.items():
        known = infos.get(name)
        try:
            if name in infos and isinstance(known, dict) != isinstance(value, dict):
                raise TypeError(name)
            VectorEnv._add_info(vector_env, infos, {name: value}, row)
        except Exception:  # of NumPy, which has one for each kind of mismatch
            rows = np.full(vector_env.num_envs, None, object)
            mask = infos.get(f"_{name}", np.zeros(len(rows), bool))
            for index in np.flatnonzero(mask):
                if isinstance(known, np.ndarray):
                    rows[index] = known[index]
            rows[row], mask[row] = value, True
            infos[name], infos[f"_{name}"] = rows, mask
    return infos


def _in_gymnasium(error: Exception) -> bool:
    """Returns whether Gymnasium, and not an environment, could not go on."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [str(frame.f_globals.get("__name__")) for frame in frames]
    own = [m for m in modules if m.split(".")[0] not in ("numpy", "functools")]
    return own[-1] == __name__ or own[-1].startswith(_CALLERS)


def joined(parts: Sequence[Nest]) -> Nest:
    """Concatenates the nests `[N, ...]` of several parts."""
    if len(parts) == 1:
        return parts[0]
    return tf.nest.map_structure(lambda *leaves: np.concatenate(leaves), *parts)


def replaced(batch: Nest, rows: Array, fresh: Nest) -> Nest:
    """Returns a copy of a batch with other values in some rows."""

    def replace(leaf: Array, values: Array) -> Array:
        leaf = leaf.copy()
        leaf[rows] = values
        return leaf

    return tf.nest.map_structure(replace, batch, fresh)


def mode_of(vector_env: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    """Reads the autoreset mode; EnvPool and older packages write it as a string."""
    mode = vector_env.metadata.get("autoreset_mode")
    for known in AutoresetMode:
        if mode in (known, known.value, known.name):
            return known
    raise ValueError(
        '`metadata["autoreset_mode"]` of a vector environment must be one of '
        f"{[str(known) for known in AutoresetMode]}: without it a final observation "
        f"cannot be told from that of a reset. Received: {mode!r}"
    )
