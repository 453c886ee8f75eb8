"""Acting in Gymnasium's environments, on the host."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from gymnasium.vector import AutoresetMode

from kpg import random
from kpg.environments.environment import Partner
from kpg.environments.vector import HostEnvironment
from kpg.models import Policy
from kpg.trainers.acting import Actor, leaves
from kpg.trainers.collection import Episodes
from kpg.trajectories import Trajectory


class HostCollector:
    """Collects fragments of a Gymnasium environment into NumPy arrays.

    Args:
        env: The environment.
        policy: The policy that acts.
        num_steps: T, steps of a fragment.
        restart: See `GraphCollector`.
        partner: What acts after the policy, if it learns. Defaults to `None`.
    """

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
        self._observations: Any = None
        self._ended = np.zeros(env.num_envs, bool)
        self._lengths = np.zeros(env.num_envs, np.int32)
        self._returns = np.zeros(env.num_envs, np.float32)
        self._actor = Actor(env, policy, self._choose)
        self._seeds = tf.function(
            lambda seed: random.seeds([num_steps, 3], seed)[:, 0],
            [tf.TensorSpec([2], tf.int32)],
            autograph=False,
        )

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

    def collect(self, seed: Any) -> tuple[Trajectory, Episodes]:
        """Acts for `num_steps` steps; a fragment carries on where the last one ended.

        Args:
            seed: `[2]` int32, a stateless seed. `GraphCollector` draws the same actions
                with it.
        """
        if self._observations is None or self.restart:
            self._begin()
        elif self.partner is not None:
            self.partner.refresh()
        before = self._actor.state
        episodes = Episodes(0.0, 0.0, 0.0)
        fragment: list[np.ndarray[Any, Any]] = []
        row: Any = ()
        for step, own in enumerate(self._seeds(seed).numpy()):
            row = self._step(own)
            arrays = [array for field in row for array in leaves(field)]
            if not fragment:
                shapes = [(self.num_steps, *array.shape) for array in arrays]
                fragment = [*map(np.empty, shapes, [array.dtype for array in arrays])]
            for rows, leaf in zip(fragment, arrays, strict=True):
                rows[step] = leaf
            if self._ended.any():
                episodes = self._finish(self._ended, episodes)
        trajectory: Trajectory = tf.nest.pack_sequence_as(row, fragment)
        trajectory = trajectory._replace(policy_state=before)
        if self.restart:
            ends = trajectory.terminated | trajectory.truncated
            passed = np.cumsum(ends, axis=0) - ends
            trajectory = trajectory._replace(valid=trajectory.valid & (passed == 0))
        return trajectory, episodes

    def _begin(self) -> None:
        """Starts new episodes in all copies."""
        first = self._observations is None
        self._observations = self.env.reset(self.env.seed if first else None)
        self._actor.restart()
        self._ended[:] = False
        self._lengths[:] = 0
        self._returns[:] = 0

    def _step(self, seed: np.ndarray[Any, Any]) -> Trajectory:
        observations = self._observations
        actions, log_probs, taken = self._actor(observations, seed)
        self._refuse_broken(log_probs)
        result = self.env.step(taken)
        self._lengths += result.valid
        self._returns += np.where(result.valid, result.rewards, 0.0)
        self._observations = result.observations
        self._ended = result.terminated | result.truncated
        self._actor.forget(self._ended | ~result.valid)
        return Trajectory(
            observations=observations,
            actions=actions,
            log_probs=log_probs,
            rewards=result.rewards,
            terminated=result.terminated,
            truncated=result.truncated,
            valid=result.valid,
            next_observations=result.next_observations,
            turns=() if self.partner is None else self.partner.turn,
        )

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


def broken_policy() -> ValueError:
    """Explains log-probabilities that are not finite."""
    return ValueError(
        "The policy gave a log-probability that is not finite. Either an action mask "
        "allows no action at all, which the environment must mend, or weights or "
        "logits became inf or nan: lower the learning rate, or normalise observations "
        "and rewards. Received: inf or nan"
    )
