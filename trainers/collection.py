"""Acting in environments: inside the graph, or on the host."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from gymnasium.vector import AutoresetMode

from kpg import random, spaces
from kpg.environments.functional import GraphEnvironment, Rng
from kpg.environments.vector import HostEnvironment
from kpg.models import Policy
from kpg.scan import scan
from kpg.trajectories import Trajectory, zero_where


class Carry(NamedTuple):
    """Where the environments stand between two fragments.

    Attributes:
        states: Nest of `[B, ...]`, the environments' own states.
        lengths: `[B]` int32, steps since the last reset.
        returns: `[B]` float32, undiscounted reward since the last reset.
        policy_state: Nest of `[B, ...]`, what a recurrent policy remembers of the
            episode; `()` for others.
    """

    states: Any
    lengths: Any
    returns: Any
    policy_state: Any


class Episodes(NamedTuple):
    """Sums over the episodes that ended in a fragment; three scalars, float32.

    Attributes:
        returns: Sum of their undiscounted returns.
        lengths: Sum of their lengths, in steps.
        count: Their number.
    """

    returns: Any
    lengths: Any
    count: Any


class GraphCollector:
    """Collects fragments of an in-graph environment; every method builds graph.

    Args:
        env: The environment.
        policy: The policy that acts.
        num_steps: T, steps of a fragment.
        num_envs: B, environments that this replica steps.
        restart: Whether every fragment begins with new episodes and holds one for each
            environment; the rows after its end are not valid.
    """

    def __init__(
        self,
        env: GraphEnvironment,
        policy: Policy,
        num_steps: int,
        num_envs: int,
        restart: bool = False,
    ) -> None:
        self.env = env
        self.policy = policy
        self.num_steps = num_steps
        self.num_envs = num_envs
        self.restart = restart

    def start(self, seed: tf.Tensor) -> Carry:
        """Resets all environments, given a stateless `[2]` int32 seed."""
        return Carry(
            self.env.initial(Rng(seed, self.num_envs)),
            tf.zeros([self.num_envs], tf.int32),
            tf.zeros([self.num_envs]),
            self.policy.initial_state(self.num_envs),
        )

    def collect(
        self, carry: Carry, seed: tf.Tensor
    ) -> tuple[Carry, Trajectory, Episodes]:
        """Acts for `num_steps` steps, given a stateless `[2]` int32 seed.

        Returns:
            The carry; the trajectory, whose `valid` is `None` unless fragments restart;
            and the sums over the episodes that ended.
        """
        seeds = random.seeds([self.num_steps, 3], seed)
        if self.restart:
            carry = self.start(seed)
        before = carry.policy_state
        carry, (rows, episodes) = scan(self._step, carry, seeds)
        trajectory = Trajectory(**rows, valid=None, policy_state=before)
        if self.restart:
            ended = trajectory.terminated | trajectory.truncated
            before = tf.cumsum(tf.cast(ended, tf.int32), exclusive=True)
            trajectory = trajectory._replace(valid=before == 0)
        return carry, trajectory, tf.nest.map_structure(tf.reduce_sum, episodes)

    def _step(
        self, carry: Carry, seeds: tf.Tensor
    ) -> tuple[Carry, tuple[dict[str, Any], Episodes]]:
        """One step of all environments; `seeds` is `[3, 2]`."""
        env, family = self.env, self.policy.family
        observations = env.observation(carry.states)
        parameters, policy_state = self.policy.step(observations, carry.policy_state)
        actions = family.sample(parameters, seeds[0])
        taken = family.to_environment(actions)
        rng = Rng(seeds[1], self.num_envs)
        states = env.transition(carry.states, taken, rng)
        rewards = env.reward(carry.states, taken, states)
        terminated = env.terminal(states)
        lengths, returns = carry.lengths + 1, carry.returns + rewards
        truncated = time_is_up(env, lengths) & ~terminated
        ended = terminated | truncated
        rows = {
            "observations": observations,
            "actions": actions,
            "log_probs": family.log_prob(parameters, actions),
            "rewards": rewards,
            "terminated": terminated,
            "truncated": truncated,
            "next_observations": env.observation(states),
        }
        done = tf.cast(ended, tf.float32)
        episodes = Episodes(
            tf.reduce_sum(done * returns),
            tf.reduce_sum(done * tf.cast(lengths, tf.float32)),
            tf.reduce_sum(done),
        )
        fresh = self.start(seeds[2])
        carry = select(ended, fresh, Carry(states, lengths, returns, policy_state))
        return carry, (rows, episodes)


def time_is_up(env: GraphEnvironment, lengths: tf.Tensor) -> tf.Tensor:
    """Returns `[B]` bool: whether an episode reached the environment's time limit."""
    if env.max_episode_steps is None:
        return tf.zeros_like(lengths, tf.bool)
    return lengths >= env.max_episode_steps


def select(condition: tf.Tensor, chosen: Any, other: Any) -> Any:
    """Takes rows of `chosen` where `[B]` `condition` holds, else those of `other`."""

    def rows(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        shape = [-1] + [1] * (left.shape.rank - 1)
        return tf.where(tf.reshape(condition, shape), left, right)

    return tf.nest.map_structure(rows, chosen, other)


class HostCollector:
    """Collects fragments of a Gymnasium environment into NumPy arrays.

    Acting is one compiled call a step.

    Args:
        env: The environment.
        policy: The policy that acts.
        num_steps: T, steps of a fragment.
        restart: See `GraphCollector`.
    """

    def __init__(
        self,
        env: HostEnvironment,
        policy: Policy,
        num_steps: int,
        restart: bool = False,
    ) -> None:
        self.env = env
        self.policy = policy
        self.num_steps = num_steps
        self.restart = restart
        self._observations: Any = None
        self._state = policy.initial_state(env.num_envs)
        self._ended = np.zeros(env.num_envs, bool)
        self._lengths = np.zeros(env.num_envs, np.int32)
        self._returns = np.zeros(env.num_envs, np.float32)
        signature = [
            *batched((spaces.specs(env.observation_space), policy.state_spec), env),
            tf.TensorSpec([2], tf.int32),
        ]
        self._act = tf.function(self._choose, signature, autograph=False)

    def _choose(self, observations: Any, state: Any, seed: tf.Tensor) -> Any:
        """Returns actions, their log-probabilities, what is taken, and the state."""
        family = self.policy.family
        parameters, state = self.policy.step(observations, state)
        actions = family.sample(parameters, seed)
        log_probs = family.log_prob(parameters, actions)
        return actions, log_probs, family.to_environment(actions), state

    def restart_episodes(self) -> None:
        """Begins the next fragment with new episodes."""
        self._observations = None

    def collect(self, key: np.ndarray[Any, Any]) -> tuple[Trajectory, Episodes]:
        """Acts for `num_steps` steps; a fragment carries on where the last one ended.

        Args:
            key: `[2]` int32, the trainer's seed and the number of the fragment.
        """
        if self._observations is None or self.restart:
            first = self._observations is None
            self._observations = self.env.reset(self.env.seed if first else None)
            self._state = self.policy.initial_state(self.env.num_envs)
            self._ended[:] = False
            self._lengths[:] = 0
            self._returns[:] = 0
        episodes = Episodes(0.0, 0.0, 0.0)
        before = tf.nest.map_structure(np.asarray, self._state)
        rows = []
        for step in range(self.num_steps):
            count = (int(key[1]) * self.num_steps + step) & 0x7FFFFFFF
            row, ended = self._step(np.array([key[0], count], np.int32))
            rows.append(row)
            if ended.any():
                episodes = self._finish(ended, episodes)
        trajectory = tf.nest.map_structure(lambda *steps: np.stack(steps), *rows)
        trajectory = trajectory._replace(policy_state=before)
        if self.restart:
            ends = trajectory.terminated | trajectory.truncated
            before = np.cumsum(ends, axis=0) - ends
            trajectory = trajectory._replace(valid=trajectory.valid & (before == 0))
        return trajectory, episodes

    def _step(self, seed: np.ndarray[Any, Any]) -> tuple[Trajectory, Any]:
        observations = self._observations
        actions, log_probs, taken, state = self._act(observations, self._state, seed)
        log_probs = log_probs.numpy()
        self._refuse_broken(log_probs)
        result = self.env.step(to_numpy(taken))
        self._lengths += result.valid
        self._returns += np.where(result.valid, result.rewards, 0.0)
        self._observations = result.observations
        self._ended = result.terminated | result.truncated
        if self.policy.recurrent:
            state = zero_where(self._ended | ~result.valid, state)
        self._state = state
        row = Trajectory(
            observations=observations,
            actions=to_numpy(actions),
            log_probs=log_probs,
            rewards=result.rewards,
            terminated=result.terminated,
            truncated=result.truncated,
            valid=result.valid,
            next_observations=result.next_observations,
        )
        return row, self._ended

    def _refuse_broken(self, log_probs: np.ndarray[Any, Any]) -> None:
        """Raises before an environment is given an action that no policy chose."""
        if np.isfinite(log_probs).all():
            return
        # A final observation may well have no legal action: nothing is acted on it.
        resetting = self.env.autoreset_mode is AutoresetMode.NEXT_STEP
        acting = ~self._ended if resetting else np.ones_like(self._ended)
        if not np.isfinite(log_probs[acting]).all():
            raise broken_policy()

    def _finish(self, ended: np.ndarray[Any, Any], episodes: Episodes) -> Episodes:
        """Adds the episodes that ended in this step and starts their counts anew."""
        episodes = Episodes(
            episodes.returns + float(self._returns[ended].sum()),
            episodes.lengths + float(self._lengths[ended].sum()),
            episodes.count + float(ended.sum()),
        )
        self._returns[ended] = 0
        self._lengths[ended] = 0
        return episodes


def to_numpy(nest: Any) -> Any:
    """Turns a nest of eager tensors into one of arrays."""
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), nest)


def batched(specs: Any, env: HostEnvironment) -> Any:
    """Gives a nest of `TensorSpec`s the leading axis of the environment's copies."""
    return tf.nest.map_structure(
        lambda spec: tf.TensorSpec([env.num_envs, *spec.shape], spec.dtype), specs
    )


def broken_policy() -> ValueError:
    """Explains log-probabilities that are not finite."""
    return ValueError(
        "The policy gave a log-probability that is not finite. Either an action mask "
        "allows no action at all, which the environment must mend, or weights or "
        "logits became inf or nan: lower the learning rate, or normalise observations "
        "and rewards. Received: inf or nan"
    )
