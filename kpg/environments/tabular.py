"""Small Markov decision processes whose answers are known exactly."""

from __future__ import annotations

from typing import NamedTuple

import gymnasium as gym
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from kpg import checks
from kpg.environments.graph.functional import FunctionalEnv, Rng
from kpg.types import Array, Tensor


class Solution(NamedTuple):
    """An optimal policy: values `[S]`, and probabilities `[S, A]`, 1 for the best."""

    values: Array
    policy: Array


class TabularMDP(FunctionalEnv):
    """A Markov decision process given by its tables, exact and in the graph.

    A state that no action leaves and in which no action pays is terminal. Observations
    are one-hot vectors `[S]`; states are indices.

    Reference: Sutton and Barto (2018), "Reinforcement learning", chapters 3, 4 and 13.

    Args:
        transitions: `[S, A, S]`, probability of each next state.
        rewards: `[S, A]`, expected reward.
        discount: γ in [0, 1]; with 1, every policy must reach a terminal state.
        initial: `[S]`, probability of each first state.
        max_episode_steps: Time limit, which the exact methods ignore. Defaults to none.

    Raises:
        ValueError: If a shape, a probability or the discount is out of range.
    """

    def __init__(
        self,
        transitions: ArrayLike,
        rewards: ArrayLike,
        discount: float,
        initial: ArrayLike,
        max_episode_steps: int | None = None,
    ) -> None:
        super().__init__()
        self.transitions = np.asarray(transitions, np.float64)
        self.rewards = np.asarray(rewards, np.float64)
        self.discount = checks.fraction("discount", float(discount))
        self.initial_probabilities = np.asarray(initial, np.float64)
        self.max_episode_steps = max_episode_steps
        self._check()
        states, actions = self.rewards.shape
        stays = self.transitions[np.arange(states), :, np.arange(states)] == 1.0
        self.terminal_states = np.all(stays & (self.rewards == 0.0), axis=1)
        self.observation_space = gym.spaces.Box(0.0, 1.0, (states,))
        self.action_space = gym.spaces.Discrete(actions)
        # The last column is 1 up to rounding, and no draw must come out above it.
        self._cumulated = np.cumsum(self.transitions, axis=-1)[..., :-1]
        self._first = np.cumsum(self.initial_probabilities)[:-1]

    def _check(self) -> None:
        shape, first = self.rewards.shape, self.initial_probabilities.shape
        cubic = len(shape) == 2 and self.transitions.shape == (*shape, shape[0])
        if not cubic or first != shape[:1]:
            raise ValueError(
                "Tables must be transitions [S, A, S], rewards [S, A] and initial [S]. "
                f"Received: shapes {self.transitions.shape}, {shape}, {first}"
            )
        for name in ("transitions", "initial_probabilities"):
            least, sums = getattr(self, name).min(), getattr(self, name).sum(axis=-1)
            if least < 0 or not np.allclose(sums, 1.0):
                raise ValueError(
                    f"`{name}` must be probabilities that sum to 1 over the last axis. "
                    f"Received: sums {sums.min():g} … {sums.max():g}, entry {least:g}"
                )
        if not np.isfinite(self.rewards).all():
            raise ValueError("`rewards` must be finite. Received: inf or nan")

    def evaluate(self, policy: ArrayLike) -> Array:
        """Returns the values `[S]` of a policy `[S, A]`: V = (I − γP_π)⁻¹ r_π.

        Raises a `ValueError` for a wrong shape, or an endless policy with γ = 1.
        """
        probabilities = self._policy(policy)
        alive = ~self.terminal_states
        rewards = np.einsum("sa,sa->s", probabilities, self.rewards)
        values = np.zeros(len(rewards))
        values[alive] = np.linalg.solve(self._resolvent(probabilities), rewards[alive])
        return values

    def action_values(self, values: Array) -> Array:
        """Returns Q(s, a) = r(s, a) + γ Σ P(s'|s, a) V(s'), `[S, A]`."""
        returns: Array = self.rewards + self.discount * self.transitions @ values
        return returns

    def visits(self, policy: ArrayLike) -> Array:
        """Returns d(s) = Σₜ γᵗ P(sₜ = s), `[S]`: μᵀ(I − γP_π)⁻¹; 0 if terminal."""
        alive = ~self.terminal_states
        visits = np.zeros(len(alive))
        visits[alive] = np.linalg.solve(
            self._resolvent(self._policy(policy)).T, self.initial_probabilities[alive]
        )
        return visits

    def policy_gradient(self, logits: ArrayLike) -> Array:
        """Returns ∇J of the softmax policy `[S, A]`, where J = Σ μ(s) V(s).

        ∂J/∂θ(s, a) = d(s) π(a|s) A(s, a); Sutton et al. (1999), theorem 1.
        """
        policy = softmax(logits)
        values = self.evaluate(policy)
        gains = self.action_values(values) - values[:, np.newaxis]
        gradient: Array = self.visits(policy)[:, np.newaxis] * policy * gains
        return gradient

    def value_iteration(self, tolerance: float = 1e-10) -> Solution:
        """Iterates V ← max_a Q(s, a) until no value moves by more than `tolerance`.

        Raises a `ValueError` if values keep growing.
        """
        values = np.zeros(len(self.rewards))
        for _ in range(1_000_000):
            following = self.action_values(values).max(axis=1)
            change = float(np.abs(following - values).max())
            values = following
            if change <= tolerance:
                return Solution(values, self._greedy(values))
        checks.refuse("discount", "must be below 1: values diverge", self.discount)

    def policy_iteration(self) -> Solution:
        """Evaluates and improves until no action is better than the one chosen."""
        states, actions = self.rewards.shape
        policy = np.full((states, actions), 1.0 / actions)
        while True:
            values = self.evaluate(policy)
            gains = self.action_values(values)
            chosen = np.einsum("sa,sa->s", policy, gains)
            # Improvements that are rounding errors could go on for ever.
            better = gains.max(axis=1) > chosen + 1e-10
            if not better.any():
                return Solution(values, self._greedy(values))
            policy[better] = np.eye(actions)[gains[better].argmax(axis=1)]

    def _greedy(self, values: Array) -> Array:
        gains = self.action_values(values).round(9)
        best: Array = np.eye(gains.shape[1])[gains.argmax(axis=1)]
        return best

    def _policy(self, policy: ArrayLike) -> Array:
        probabilities = np.asarray(policy, np.float64)
        if probabilities.shape != self.rewards.shape:
            wanted = f"A policy must be probabilities of shape {self.rewards.shape}"
            raise ValueError(f"{wanted}. Received: shape {probabilities.shape}")
        return probabilities

    def _resolvent(self, policy: Array) -> Array:
        """Returns I − γP_π over the states that are not terminal."""
        alive = ~self.terminal_states
        moves = np.einsum("sa,sat->st", policy, self.transitions)[np.ix_(alive, alive)]
        matrix: Array = np.eye(len(moves)) - self.discount * moves
        if self.discount == 1.0 and np.abs(np.linalg.eigvals(moves)).max() > 1 - 1e-12:
            raise ValueError(
                "With a discount of 1 a policy must reach a terminal state from "
                "everywhere; use a smaller discount. Received: discount=1.0"
            )
        return matrix

    def initial(self, rng: Rng) -> Tensor:
        """Draws first states `[B]` int32."""
        return _draw(tf.constant(self._first, tf.float32), rng)

    def transition(self, state: Tensor, action: Tensor, rng: Rng) -> Tensor:
        """Draws next states `[B]` int32."""
        indices = tf.stack([state, tf.cast(action, tf.int32)], axis=-1)
        cumulated = tf.constant(self._cumulated, tf.float32)
        return _draw(tf.gather_nd(cumulated, indices), rng)

    def observation(self, state: Tensor) -> Tensor:
        """Returns one-hot rows `[B, S]`."""
        return tf.one_hot(state, len(self.rewards))

    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Returns the expected rewards `[B]` of the actions taken."""
        indices = tf.stack([state, tf.cast(action, tf.int32)], axis=-1)
        return tf.gather_nd(tf.constant(self.rewards, tf.float32), indices)

    def terminal(self, state: Tensor) -> Tensor:
        """Returns `[B]` bool, whether a state is terminal."""
        return tf.gather(tf.constant(self.terminal_states), state)


def softmax(logits: ArrayLike) -> Array:
    """Returns the probabilities of a softmax policy, over the last axis."""
    numbers = np.asarray(logits, np.float64)
    powers = np.exp(numbers - numbers.max(axis=-1, keepdims=True))
    probabilities: Array = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def _draw(cumulated: Tensor, rng: Rng) -> Tensor:
    """Draws an index from each row of cumulated probabilities."""
    above = rng.uniform(size=(1,)) >= cumulated
    return tf.reduce_sum(tf.cast(above, tf.int32), axis=-1)
