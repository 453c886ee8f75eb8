"""Gymnasium's classic control problems as functions of tensors, in float32.

The equations, constants, bounds and rewards are those of
`gymnasium.envs.classic_control`, which computes in float64 and shows float32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
from gymnasium import spaces

from kpg.environments.functional import FunctionalEnv, Rng


class MountainCar(FunctionalEnv):
    """A car too weak for the hill in front of it: `MountainCar-v0`.

    A state is `[B, 2]`: position (−1.2 … 0.6) and velocity (−0.07 … 0.07 a step). The
    actions 0, 1 and 2 push to the left, not at all and to the right:

    vₜ₊₁ = clip(vₜ + 0.001(aₜ − 1) − 0.0025 cos(3pₜ)), pₜ₊₁ = clip(pₜ + vₜ₊₁)

    The left end is a wall that takes the speed away. Every step costs 1; the episode
    ends at position 0.5, and is truncated after 200 steps.

    Reference: Moore, "Efficient memory-based learning for robot control" (1990),
    https://www.cl.cam.ac.uk/techreports/UCAM-CL-TR-209.pdf; equations of Sutton's
    http://incompleteideas.net/MountainCar/MountainCar1.cp as in Gymnasium.

    Args:
        goal_velocity: Least velocity that counts as an arrival. Defaults to 0.
    """

    min_position = -1.2
    max_position = 0.6
    max_speed = 0.07
    goal_position = 0.5
    force = 0.001
    gravity = 0.0025
    initial_low = -0.6
    initial_high = -0.4
    max_episode_steps = 200

    def __init__(self, goal_velocity: float = 0.0) -> None:
        """See `MountainCar`."""
        super().__init__()
        self.goal_velocity = goal_velocity
        low = np.array([self.min_position, -self.max_speed], np.float32)
        high = np.array([self.max_position, self.max_speed], np.float32)
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.action_space = spaces.Discrete(3)

    def initial(self, rng: Rng, params: Any = None) -> tf.Tensor:
        """Draws a position at the bottom of the valley; the car stands still."""
        positions = rng.uniform(self.initial_low, self.initial_high)
        return tf.stack([positions, tf.zeros_like(positions)], axis=-1)

    def transition(
        self, state: tf.Tensor, action: tf.Tensor, rng: Rng, params: Any = None
    ) -> tf.Tensor:
        """See `MountainCar`."""
        positions, velocities = state[..., 0], state[..., 1]
        push = (tf.cast(action, tf.float32) - 1.0) * self.force
        velocities += push - self.gravity * tf.cos(3.0 * positions)
        velocities = tf.clip_by_value(velocities, -self.max_speed, self.max_speed)
        positions = tf.clip_by_value(
            positions + velocities, self.min_position, self.max_position
        )
        # Only a car that moves left can be at the left end: its speed becomes 0.
        at_wall = (positions <= self.min_position) & (velocities < 0.0)
        return tf.stack([positions, tf.where(at_wall, 0.0, velocities)], axis=-1)

    def observation(self, state: tf.Tensor, rng: Any, params: Any = None) -> tf.Tensor:
        """Shows the state itself, `[B, 2]`."""
        return state

    def reward(
        self,
        state: tf.Tensor,
        action: tf.Tensor,
        next_state: tf.Tensor,
        rng: Any,
        params: Any = None,
    ) -> tf.Tensor:
        """Returns −1 for every step, the last one included."""
        return tf.fill(tf.shape(next_state)[:1], -1.0)

    def terminal(self, state: tf.Tensor, rng: Any, params: Any = None) -> tf.Tensor:
        """Returns whether the car has arrived."""
        arrived = state[..., 0] >= self.goal_position
        return arrived & (state[..., 1] >= self.goal_velocity)


class CartPole(FunctionalEnv):
    """A pole to be balanced on a cart: `CartPole-v1`.

    A state is `[B, 4]`: position x (m), velocity ẋ (m/s), angle θ (rad, 0 upright) and
    angular velocity θ̇ (rad/s). The actions 0 and 1 push with −10 N and 10 N:

    θ̈ = (g sin θ − cos θ · u) / (l(4/3 − m cos²θ / M)), ẍ = u − m l θ̈ cos θ / M, where
    u = (F + m l θ̇² sin θ) / M, M is the mass of both and l half the pole's length.
    Euler's method integrates them in steps of 0.02 s.

    Every step earns 1, the last one included; the episode ends when |x| > 2.4 m or
    |θ| > 12°, and is truncated after 500 steps.

    Reference: Barto, Sutton and Anderson, "Neuronlike adaptive elements that can solve
    difficult learning control problems" (1983), https://doi.org/10.1109/TSMC.1983.6313077;
    equations as corrected by Florian (2007),
    https://coneural.org/florian/papers/05_cart_pole.pdf.

    Args:
        sutton_barto_reward: Whether a step earns 0 and the last one −1, as in the
            article of 1983. Defaults to `False`.
    """

    gravity = 9.8
    cart_mass = 1.0
    pole_mass = 0.1
    total_mass = cart_mass + pole_mass
    half_length = 0.5
    force = 10.0
    seconds_per_step = 0.02
    max_position = 2.4
    max_angle = 12.0 * 2.0 * math.pi / 360.0
    initial_bound = 0.05
    max_episode_steps = 500

    def __init__(self, sutton_barto_reward: bool = False) -> None:
        """See `CartPole`."""
        super().__init__()
        self.sutton_barto_reward = sutton_barto_reward
        # Twice the limits, so that the observation that ends an episode lies inside.
        high = np.array(
            [self.max_position * 2, np.inf, self.max_angle * 2, np.inf], np.float32
        )
        self.observation_space = spaces.Box(-high, high, dtype=np.float32)
        self.action_space = spaces.Discrete(2)

    def initial(self, rng: Rng, params: Any = None) -> tf.Tensor:
        """Draws all four numbers near 0."""
        return rng.uniform(-self.initial_bound, self.initial_bound, (4,))

    def transition(
        self, state: tf.Tensor, action: tf.Tensor, rng: Rng, params: Any = None
    ) -> tf.Tensor:
        """See `CartPole`."""
        x_dot, theta, theta_dot = state[..., 1], state[..., 2], state[..., 3]
        force = (tf.cast(action, tf.float32) * 2.0 - 1.0) * self.force
        sine, cosine = tf.sin(theta), tf.cos(theta)
        pole_moment = self.pole_mass * self.half_length
        pull = (force + pole_moment * tf.square(theta_dot) * sine) / self.total_mass
        lever = self.half_length * (
            4.0 / 3.0 - self.pole_mass * tf.square(cosine) / self.total_mass
        )
        theta_dot_dot = (self.gravity * sine - cosine * pull) / lever
        x_dot_dot = pull - pole_moment * theta_dot_dot * cosine / self.total_mass
        rates = tf.stack([x_dot, x_dot_dot, theta_dot, theta_dot_dot], axis=-1)
        return state + self.seconds_per_step * rates

    def observation(self, state: tf.Tensor, rng: Any, params: Any = None) -> tf.Tensor:
        """Shows the state itself, `[B, 4]`."""
        return state

    def reward(
        self,
        state: tf.Tensor,
        action: tf.Tensor,
        next_state: tf.Tensor,
        rng: Any,
        params: Any = None,
    ) -> tf.Tensor:
        """Returns 1 for every step, or what `sutton_barto_reward` says."""
        if self.sutton_barto_reward:
            return tf.where(self.terminal(next_state, rng, params), -1.0, 0.0)
        return tf.ones(tf.shape(next_state)[:1])

    def terminal(self, state: tf.Tensor, rng: Any, params: Any = None) -> tf.Tensor:
        """Returns whether the cart left the track or the pole fell."""
        left = tf.abs(state[..., 0]) > self.max_position
        return left | (tf.abs(state[..., 2]) > self.max_angle)
