"""The car in the valley, with three pushes or with a force, in float32."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import tensorflow as tf
from gymnasium import spaces

from kpg.environments.graph.functional import FunctionalEnv, Rng
from kpg.types import Tensor


class _Valley(FunctionalEnv, ABC):
    """What the two mountain cars share: the valley, its wall and its summit."""

    min_position = -1.2
    max_position = 0.6
    max_speed = 0.07
    gravity = 0.0025
    initial_low = -0.6
    initial_high = -0.4
    goal_position: float

    def __init__(self, goal_velocity: float) -> None:
        super().__init__()
        self.goal_velocity = goal_velocity
        low = np.array([self.min_position, -self.max_speed], np.float32)
        high = np.array([self.max_position, self.max_speed], np.float32)
        self.observation_space = spaces.Box(low, high, dtype=np.float32)

    @abstractmethod
    def _push(self, action: Tensor) -> Tensor:
        """Returns the accelerations `[B]` of actions."""

    def initial(self, rng: Rng) -> Tensor:
        """Draws a position at the bottom of the valley; the car stands still."""
        positions = rng.uniform(self.initial_low, self.initial_high)
        return tf.stack([positions, tf.zeros_like(positions)], axis=-1)

    def transition(self, state: Tensor, action: Tensor) -> Tensor:
        positions, velocities = state[..., 0], state[..., 1]
        velocities += self._push(action) - self.gravity * tf.cos(3.0 * positions)
        velocities = tf.clip_by_value(velocities, -self.max_speed, self.max_speed)
        positions = tf.clip_by_value(
            positions + velocities, self.min_position, self.max_position
        )
        # Only a car that moves left can be at the left end: its speed becomes 0.
        at_wall = (positions <= self.min_position) & (velocities < 0.0)
        return tf.stack([positions, tf.where(at_wall, 0.0, velocities)], axis=-1)

    def observation(self, state: Tensor) -> Tensor:
        """Shows the state itself, `[B, 2]`."""
        return state

    def terminal(self, state: Tensor) -> Tensor:
        """Returns whether the car has arrived."""
        arrived = state[..., 0] >= self.goal_position
        return arrived & (state[..., 1] >= self.goal_velocity)


class MountainCar(_Valley):
    """A car too weak for the hill in front of it: `MountainCar-v0`.

    A state is `[B, 2]`: position (−1.2 … 0.6) and velocity (−0.07 … 0.07 a step). The
    actions 0, 1 and 2 push to the left, not at all and to the right:

    vₜ₊₁ = clip(vₜ + 0.001(aₜ − 1) − 0.0025 cos(3pₜ)), pₜ₊₁ = clip(pₜ + vₜ₊₁)

    The left end is a wall that takes the speed away. Every step costs 1; the episode
    ends at position 0.5 with at least `goal_velocity` (default 0), and is truncated
    after 200 steps.

    Reference: Moore, "Efficient memory-based learning for robot control" (1990),
    https://www.cl.cam.ac.uk/techreports/UCAM-CL-TR-209.pdf; equations of Sutton's
    http://incompleteideas.net/MountainCar/MountainCar1.cp as in Gymnasium.
    """

    goal_position = 0.5
    force = 0.001
    max_episode_steps = 200

    def __init__(self, goal_velocity: float = 0.0) -> None:
        super().__init__(goal_velocity)
        self.action_space = spaces.Discrete(3)

    def _push(self, action: Tensor) -> Tensor:
        return (tf.cast(action, tf.float32) - 1.0) * self.force

    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Returns −1 for every step, the last one included."""
        return tf.fill(tf.shape(next_state)[:1], -1.0)


class MountainCarContinuous(_Valley):
    """`MountainCar` with an engine that is free to choose: `MountainCarContinuous-v0`.

    An action `[B, 1]` is a force aₜ in −1 … 1, clipped to that range where it moves:

    vₜ₊₁ = clip(vₜ + 0.0015 clip(aₜ) − 0.0025 cos(3pₜ)), pₜ₊₁ = clip(pₜ + vₜ₊₁)

    A step costs 0.1 aₜ², of the force asked for and not of the clipped one; arriving
    at position 0.45 with at least `goal_velocity` (default 0) earns 100 and ends the
    episode, which is truncated after 999 steps.
    """

    goal_position = 0.45
    power = 0.0015
    goal_reward = 100.0
    max_episode_steps = 999

    def __init__(self, goal_velocity: float = 0.0) -> None:
        super().__init__(goal_velocity)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def _push(self, action: Tensor) -> Tensor:
        return tf.clip_by_value(action[..., 0], -1.0, 1.0) * self.power

    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Returns 100 for an arrival, less what the force costs."""
        arrived = self.terminal(next_state)
        prizes = tf.where(arrived, self.goal_reward, 0.0)
        return prizes - 0.1 * tf.square(action[..., 0])
