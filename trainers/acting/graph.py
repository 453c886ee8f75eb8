"""Acting in in-graph environments."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import tensorflow as tf

from kpg.environments.graph.functional import GraphEnvironment, Rng
from kpg.graph import random
from kpg.graph.scan import scan
from kpg.models.policy import Policy
from kpg.trajectories import Trajectory, zero_where
from kpg.types import Nest, Tensor


class Acted(NamedTuple):
    """Raw actions, their `[B, P]` parameters, the environment's actions, new state."""

    actions: Nest
    parameters: Tensor
    taken: Nest
    state: Nest


def act(
    policy: Policy, observations: Nest, state: Nest, seed: Tensor, greedy: bool = False
) -> Acted:
    """Chooses an action for each observation, given a `[2]` seed; builds graph."""
    family = policy.family
    parameters, state = policy.step(observations, state)
    actions = family.mode(parameters) if greedy else family.sample(parameters, seed)
    return Acted(actions, parameters, family.to_environment(actions), state)


class Carry(NamedTuple):
    """Environments between fragments, with `[B]` lengths and returns of episodes."""

    states: Nest
    lengths: Tensor
    returns: Tensor
    policy_state: Nest


class Episodes(NamedTuple):
    """Sums over the episodes that ended: undiscounted returns, steps, their number.

    Where fragments hold one episode of each environment, they are over these alone.
    """

    returns: Tensor | float
    lengths: Tensor | float
    number: Tensor | float


@dataclasses.dataclass(eq=False)
class GraphCollector:
    """Collects fragments of an in-graph environment; all methods build graph.

    With `restart` each fragment holds one new episode per environment, and later rows
    are not valid. `compare` plays each also greedily. `num_envs` are this replica's.
    """

    env: GraphEnvironment
    policy: Policy
    num_steps: int
    num_envs: int
    restart: bool = False
    compare: bool = False

    def start(self, seed: Tensor) -> Carry:
        """Resets all environments, given a `[2]` int32 seed."""
        return Carry(
            self.env.initial(Rng(seed, self.num_envs)),
            tf.zeros([self.num_envs], tf.int32),
            tf.zeros([self.num_envs]),
            self.policy.initial_state(self.num_envs),
        )

    def collect(self, carry: Carry, seed: Tensor) -> tuple[Carry, Trajectory, Episodes]:
        """Acts for `num_steps` steps; `valid` is `None` unless fragments restart."""
        seeds = random.seeds([self.num_steps, 3], seed)
        if self.restart:
            carry = self.start(seed)
        before = carry
        inputs = (seeds[:, :2], self._fresh(seeds[0, 2]))
        carry, (rows, episodes) = scan(self._step, carry, inputs)
        trajectory = Trajectory(**rows, valid=None, policy_state=before.policy_state)
        ended = Episodes(*map(tf.reduce_sum, tf.unstack(episodes, axis=1)))
        if self.restart:
            valid = _first_episode(rows)
            trajectory = trajectory._replace(valid=valid)
            ended = _episodes_of(rows, valid)
        if self.compare:
            greedy = functools.partial(self._step, greedy=True)
            _, (others, _) = scan(greedy, before, inputs)
            rewards = tf.where(_first_episode(others), others["rewards"], 0.0)
            trajectory = trajectory._replace(greedy_rewards=rewards)
        return carry, trajectory, ended

    def _fresh(self, seed: Tensor) -> Nest:
        """Draws all steps' initial states, `[T, B, ...]`, in far fewer kernels."""
        states = self.env.initial(Rng(seed, self.num_steps * self.num_envs))
        axes = [self.num_steps, self.num_envs]
        return tf.nest.map_structure(
            lambda state: tf.reshape(state, [*axes, *state.shape[1:]]), states
        )

    def _step(
        self, carry: Carry, inputs: tuple[Tensor, Nest], greedy: bool = False
    ) -> tuple[Carry, tuple[dict[str, Nest], Tensor]]:
        """Steps all environments, given `[2, 2]` seeds and states to reset to.

        Also returns the rows, and `[3]` sums as in `Episodes`.
        """
        seeds, fresh = inputs
        env, family = self.env, self.policy.family
        observations = env.observation(carry.states)
        acted = act(self.policy, observations, carry.policy_state, seeds[0], greedy)
        rng = Rng(seeds[1], self.num_envs)
        states = env.transition(carry.states, acted.taken, rng)
        rewards = env.reward(carry.states, acted.taken, states)
        terminated = env.terminal(states)
        lengths, returns = carry.lengths + 1, carry.returns + rewards
        truncated = time_is_up(env, lengths) & ~terminated
        ended = terminated | truncated
        rows = {
            "observations": observations,
            "actions": acted.actions,
            "log_probs": family.log_prob(acted.parameters, acted.actions),
            "rewards": rewards,
            "terminated": terminated,
            "truncated": truncated,
            "next_observations": env.observation(states),
        }
        done = tf.cast(ended, tf.float32)
        episodes = [done * returns, done * tf.cast(lengths, tf.float32), done]
        sums = tf.stack([tf.reduce_sum(numbers) for numbers in episodes])
        carry = Carry(
            select(ended, fresh, states),
            tf.where(ended, 0, lengths),
            tf.where(ended, 0.0, returns),
            zero_where(ended, acted.state),
        )
        return carry, (rows, sums)


def _first_episode(rows: dict[str, Nest]) -> Tensor:
    """Returns `[T, B]` bool: whether no episode ended in earlier rows."""
    ended = rows["terminated"] | rows["truncated"]
    return tf.cumsum(tf.cast(ended, tf.int32), exclusive=True) == 0


def _episodes_of(rows: dict[str, Nest], valid: Tensor) -> Episodes:
    """Returns the sums over those first episodes that ended."""
    ended = tf.reduce_any(valid & (rows["terminated"] | rows["truncated"]), axis=0)
    taken = tf.cast(valid & ended, tf.float32)
    return Episodes(
        tf.reduce_sum(taken * rows["rewards"]),
        tf.reduce_sum(taken),
        tf.reduce_sum(tf.cast(ended, tf.float32)),
    )


def time_is_up(env: GraphEnvironment, lengths: Tensor) -> Tensor:
    """Returns `[B]` bool: whether an episode reached the time limit."""
    if env.max_episode_steps is None:
        return tf.zeros_like(lengths, tf.bool)
    return lengths >= env.max_episode_steps


def select(condition: Tensor, chosen: Nest, other: Nest) -> Nest:
    """Takes rows of `chosen` where `[B]` `condition` holds, else those of `other`."""

    def rows(left: Tensor, right: Tensor) -> Tensor:
        shape = [-1] + [1] * (left.shape.rank - 1)
        return tf.where(tf.reshape(condition, shape), left, right)

    return tf.nest.map_structure(rows, chosen, other)
