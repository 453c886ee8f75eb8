"""A robot that has to reach a place in the plane, in float32."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from gymnasium import spaces

from kpg.environments.graph.functional import FunctionalEnv, Rng
from kpg.types import Tensor


class Navigation(FunctionalEnv):
    """Two-dimensional robot navigation: to the goal along the shortest path.

    A state is `[B, 4]`: the position p and the goal q of the robot, x and y each, in a
    square room of −5 … 5. An action `[B, 2]` is a direction φ (−π … π rad, 0 along the
    x axis, counter-clockwise) and a distance ℓ (0 … 1), both clipped to their range:

    pₜ₊₁ = clip(pₜ + ℓ(cos φ, sin φ), −5, 5), rₜ = −‖q − pₜ₊₁‖

    The episode ends within 0.5 of the goal, and is truncated after 50 steps. Position
    and goal are drawn uniformly, so a first step may start at the goal. Going straight
    is optimal for every discount. A `tanh_normal` policy learns it fastest: the best
    action lies at the end of a range.
    """

    half_width = 5.0
    max_distance = 1.0
    goal_radius = 0.5
    max_episode_steps = 50

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(-self.half_width, self.half_width, (4,))
        self.action_space = spaces.Box(
            np.array([-math.pi, 0.0], np.float32),
            np.array([math.pi, self.max_distance], np.float32),
        )

    def initial(self, rng: Rng) -> Tensor:
        """Draws a position and a goal anywhere in the room."""
        return rng.uniform(-self.half_width, self.half_width, (4,))

    def transition(self, state: Tensor, action: Tensor) -> Tensor:
        """Moves the robot by the distance in the direction."""
        directions = tf.clip_by_value(action[..., :1], -math.pi, math.pi)
        distances = tf.clip_by_value(action[..., 1:], 0.0, self.max_distance)
        heading = tf.concat([tf.cos(directions), tf.sin(directions)], axis=-1)
        positions = tf.clip_by_value(
            state[..., :2] + distances * heading, -self.half_width, self.half_width
        )
        return tf.concat([positions, state[..., 2:]], axis=-1)

    def observation(self, state: Tensor) -> Tensor:
        """Shows the state itself, `[B, 4]`."""
        return state

    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Returns minus the distance that remains after the step."""
        return -_distances(next_state)

    def terminal(self, state: Tensor) -> Tensor:
        """Returns whether the robot has arrived."""
        return _distances(state) <= self.goal_radius

    def best_actions(self, states: Tensor) -> Tensor:
        """Returns the optimal actions `[B, 2]`: straight at the goal."""
        way = states[..., 2:] - states[..., :2]
        directions = tf.atan2(way[..., 1], way[..., 0])
        distances = tf.minimum(_distances(states), self.max_distance)
        return tf.stack([directions, distances], axis=-1)

    def values(self, states: Tensor, discount: float) -> Tensor:
        """Returns the optimal values V(p, q) = −Σₖ γᵏ⁻¹ max(0, ‖q − p‖ − k), `[B]`.

        The sum is over the steps k ≥ 1 up to the first that ends within the radius.
        """
        first = _distances(states)
        longest = 2.0 * math.sqrt(2.0) * self.half_width / self.max_distance
        values, moving = tf.zeros_like(first), tf.ones_like(first)
        for step in range(math.ceil(longest)):
            rest = tf.maximum(first - (step + 1) * self.max_distance, 0.0)
            values -= moving * discount**step * rest
            moving *= tf.cast(rest > self.goal_radius, tf.float32)
        return values


def _distances(states: Tensor) -> Tensor:
    return tf.norm(states[..., 2:] - states[..., :2], axis=-1)
