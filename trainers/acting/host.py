"""Acting in Gymnasium environments, on the host."""

from __future__ import annotations

import operator

import numpy as np
import tensorflow as tf
from gymnasium.vector import AutoresetMode

from kpg import spaces
from kpg.environments.host.vector import HostEnvironment, joined
from kpg.environments.partner import Partner
from kpg.graph import random
from kpg.graph.calling import leaves
from kpg.graph.compiling import traceable
from kpg.models.policy import Policy
from kpg.trainers.acting.actor import Actor, Chooser
from kpg.trainers.acting.graph import Episodes
from kpg.trajectories import Trajectory, ends
from kpg.types import Array, Nest, Tensor


class HostCollector:
    """Collects fragments of a Gymnasium environment into NumPy arrays.

    While one of the environment's parts steps, the policy acts for the next. The number
    of parts does not change the result. `partner` acts after the policy, and learns.
    `steps` are those of the last fragment, without rows that only reset something.
    """

    steps = 0

    def __init__(
        self,
        env: HostEnvironment,
        policy: Policy,
        num_steps: int,
        restart: bool = False,
        partner: Partner | None = None,
    ) -> None:
        self.env = env
        self.policy = policy
        self.num_steps = num_steps
        self.restart = restart
        self.partner = partner
        # How often the environment had been called when the last fragment ended.
        self._calls: int | None = None
        self._observations: list[Nest] = [None] * len(env.parts)
        self._actors = [
            Actor(env, policy, self.chooser(rows), rows.stop - rows.start)
            for rows in env.parts
        ]
        self._seeds = traceable(
            lambda seed: random.seeds([num_steps, 3], seed)[:, 0],
            [tf.TensorSpec([2], tf.int32)],
        )

    def chooser(self, rows: slice) -> Chooser:
        """Returns what acts for some of the copies; see `Actor`."""
        family, copies = self.policy.family, self.env.num_envs

        def choose(observations: Nest, state: Nest, seed: Tensor) -> tuple[Nest, ...]:
            parameters, state = self.policy.step(observations, state)
            repeated = parameters
            if len(self.env.parts) > 1:
                # One draw for all copies, of which these take their own rows.
                repeated = tf.tile(parameters, [copies // (rows.stop - rows.start), 1])
            draws = family.sample(repeated, seed)
            actions = tf.nest.map_structure(operator.itemgetter(rows), draws)
            log_probs = family.log_prob(parameters, actions)
            return actions, log_probs, family.to_environment(actions), state

        return choose

    @property
    def goes_on(self) -> bool:
        """Whether the environment is where the last fragment left it."""
        return self._calls == self.env.calls

    def state(self, pickled: bool = False) -> Nest:
        """Returns where the episodes are, or `None`; see `HostEnvironment.state`."""
        env = self.env.state(pickled) if self.goes_on else None
        if env is None:
            return None
        flat = tf.nest.flatten
        return {
            "env": env,
            "observations": [flat(part) for part in self._observations],
            "memory": [flat(actor.state) for actor in self._actors],
            "counts": [self._ended, self._lengths, self._returns],
        }

    def set_state(self, state: Nest) -> None:
        """Goes on where another one was when it returned its `state`."""
        self.env.set_state(state["env"])
        pack, specs = tf.nest.pack_sequence_as, spaces.specs(self.env.observation_space)
        self._observations = [pack(specs, part) for part in state["observations"]]
        for actor, own in zip(self._actors, state["memory"], strict=True):
            actor.state = pack(actor.state, own)
        self._ended, self._lengths, self._returns = state["counts"]
        self._calls = self.env.calls

    def restart_episodes(self) -> None:
        """Begins the next fragment with new episodes."""
        self._calls = None

    def collect(
        self, seed: Tensor, first_seed: int | None = None
    ) -> tuple[Trajectory, Episodes]:
        """Acts for `num_steps` steps from where the last fragment ended.

        If that is lost (nothing was collected, it broke off, or somebody else reset or
        stepped the environment), episodes begin by `first_seed`, by default the
        environment's.
        """
        if not self.goes_on:
            self._begin(self.env.seed if first_seed is None else first_seed)
        elif self.restart:
            self._begin(None)
        elif self.partner is not None:
            self.partner.refresh()
        self._calls = None  # after an error: parts may be a step apart
        self._learned = np.zeros(self.env.num_envs, bool)
        self.env.leave_out(self._learned)
        before = joined([actor.state for actor in self._actors])
        self._episodes = Episodes(0.0, 0.0, 0.0)
        self._scored = np.ones((self.num_steps, self.env.num_envs), bool)
        sent = _Rows(self.num_steps, self.env.num_envs)
        received = _Rows(self.num_steps, self.env.num_envs)
        parts = range(len(self.env.parts))
        for step, own in enumerate(self._seeds(seed).numpy()):
            for part in parts:
                if step:
                    self._receive(received, step - 1, part)
                self._send(sent, step, part, own)
        for part in parts:
            self._receive(received, self.num_steps - 1, part)
        self._calls = self.env.calls
        observations, actions, log_probs = sent.nest()
        rewards, terminated, truncated, valid, finals, turns = received.nest()
        self.steps = int(np.count_nonzero(valid))
        trajectory = Trajectory(
            observations=observations,
            actions=actions,
            log_probs=log_probs,
            rewards=rewards,
            terminated=terminated,
            truncated=truncated,
            valid=valid & self._scored,
            next_observations=finals,
            policy_state=before,
            turns=turns,
        )
        if self.restart:
            ended, limit = ends(trajectory), self.env.max_episode_steps
            if limit and limit <= self.num_steps and not ended.any(axis=0).all():
                raise ValueError(
                    "Episodes must end within the environment's time limit: wrap it in "
                    "`gymnasium.wrappers.TimeLimit`, or say the limit that it keeps. "
                    f"Received: max_episode_steps={limit}, and an episode that had "
                    f"not ended after {self.num_steps} steps"
                )
            passed = np.cumsum(ended, axis=0) - ended
            trajectory = trajectory._replace(valid=trajectory.valid & (passed == 0))
        return trajectory, self._episodes

    def _begin(self, seed: int | None) -> None:
        """Starts new episodes in all copies."""
        observations = self.env.reset(seed)
        for part, rows in enumerate(self.env.parts):
            self._observations[part] = tf.nest.map_structure(
                operator.itemgetter(rows), observations
            )
            self._actors[part].restart()
        self._ended = np.zeros(self.env.num_envs, bool)
        self._lengths = np.zeros(self.env.num_envs, np.int32)
        self._returns = np.zeros(self.env.num_envs, np.float32)

    def _send(self, table: _Rows, step: int, part: int, seed: Array) -> None:
        """Acts for a part, and writes rows while its environments step."""
        rows, observations = self.env.parts[part], self._observations[part]
        actions, log_probs, taken = self._actors[part](observations, seed)
        self._refuse_broken(log_probs, self._ended[rows])
        self.env.send(taken, part)
        table.write(step, rows, (observations, actions, log_probs))

    def _receive(self, table: _Rows, step: int, part: int) -> None:
        """Waits for a part's environments, and records what happened."""
        rows, result = self.env.parts[part], self.env.receive(part)
        self._lengths[rows] += result.valid
        self._returns[rows] += np.where(result.valid, result.rewards, 0.0)
        self._observations[part] = result.observations
        ended = result.terminated | result.truncated
        self._ended[rows] = ended
        self._actors[part].forget(ended | ~result.valid)
        happened = (  # in the order of `Trajectory`
            result.rewards,
            result.terminated,
            result.truncated,
            result.valid,
            result.next_observations,
            () if self.partner is None else self.partner.turn,
        )
        table.write(step, rows, happened)
        if ended.any():
            lost = rows.start + np.flatnonzero(ended & ~result.scored)
            for row in lost:
                # What earlier fragments had of the episode has been learned.
                first = max(0, step + 1 - self._lengths[row])
                self._scored[first : step + 1, row] = False
            self._returns[lost] = self._lengths[lost] = 0
            self._learned[lost] |= self.restart
            self._finish(rows.start + np.flatnonzero(ended & result.scored))

    def _refuse_broken(self, log_probs: Array, ended: Array) -> None:
        """Raises before an environment gets an action that no policy chose."""
        if np.isfinite(log_probs).all():
            return
        # A final observation may have no legal action, but nothing acts on it.
        resetting = self.env.autoreset_mode is AutoresetMode.NEXT_STEP
        acting = ~ended if resetting else np.ones_like(ended)
        if not np.isfinite(log_probs[acting]).all():
            raise broken_policy()

    def _finish(self, ended: Array) -> None:
        """Adds the episodes that ended in this step and restarts their counts.

        With `restart` only the first of each copy is learned from, and counts.
        """
        counted = ended[~self._learned[ended]]
        self._learned[ended] = self.restart
        self._episodes = Episodes(
            self._episodes.returns + float(self._returns[counted].sum()),
            self._episodes.lengths + float(self._lengths[counted].sum()),
            self._episodes.number + float(len(counted)),
        )
        self._returns[ended] = 0
        self._lengths[ended] = 0
        if self.restart:
            self.env.leave_out(self._learned)


class _Rows:
    """Arrays `[T, B, ...]` that are filled step by step and part by part."""

    def __init__(self, num_steps: int, num_envs: int) -> None:
        self._shape = num_steps, num_envs
        self._arrays: list[Array] = []
        self._like: Nest = None

    def write(self, step: int, rows: slice, nest: Nest) -> None:
        """Writes a tuple of nests of `[N, ...]` into N rows of a step."""
        arrays = [array for field in nest for array in leaves(field)]
        if not self._arrays:
            self._like = nest
            self._arrays = [
                np.empty((*self._shape, *array.shape[1:]), array.dtype)
                for array in arrays
            ]
        for table, array in zip(self._arrays, arrays, strict=True):
            table[step, rows] = array

    def nest(self) -> Nest:
        """Returns everything written, in the structure of one part."""
        return tf.nest.pack_sequence_as(self._like, self._arrays)


def broken_policy() -> ValueError:
    """Explains log-probabilities that are not finite."""
    return ValueError(
        "The policy gave a log-probability that is not finite. Either an action mask "
        "allows no action at all, which the environment must fix, or weights or "
        "logits became inf or nan: lower the learning rate, or normalise observations "
        "and rewards. Received: inf or nan"
    )
