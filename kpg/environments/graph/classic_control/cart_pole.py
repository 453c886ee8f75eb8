"""The pole on a cart, in float32."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from gymnasium import spaces

from kpg.environments.graph.functional import FunctionalEnv, Rng
from kpg.types import Tensor


class CartPole(FunctionalEnv):
    """A pole to be balanced on a cart: `CartPole-v1`.

    A state is `[B, 4]`: position x (m), velocity ẋ (m/s), angle θ (rad, 0 upright) and
    angular velocity θ̇ (rad/s). The actions 0 and 1 push with −10 N and 10 N:

    θ̈ = (g sin θ − cos θ · u) / (l(4/3 − m cos²θ / M)), ẍ = u − m l θ̈ cos θ / M, where
    u = (F + m l θ̇² sin θ) / M, M is the mass of both and l half the pole's length.
    Euler's method integrates them in steps of 0.02 s.

    Every step earns 1, the last included, or with `sutton_barto_reward` 0 and the last
    −1. The episode ends when |x| > 2.4 m or |θ| > 12°; it is truncated after 500 steps.

    Reference: Barto, Sutton and Anderson, "Neuronlike adaptive elements that can solve
    difficult learning control problems" (1983), https://doi.org/10.1109/TSMC.1983.6313077;
    equations as corrected by Florian (2007),
    https://coneural.org/florian/papers/05_cart_pole.pdf.
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
        super().__init__()
        self.sutton_barto_reward = sutton_barto_reward
        # Twice the limits, so that the observation that ends an episode lies inside.
        high = np.array(
            [self.max_position * 2, np.inf, self.max_angle * 2, np.inf], np.float32
        )
        self.observation_space = spaces.Box(-high, high, dtype=np.float32)
        self.action_space = spaces.Discrete(2)

    def initial(self, rng: Rng) -> Tensor:
        """Draws all four numbers near 0."""
        return rng.uniform(-self.initial_bound, self.initial_bound, (4,))

    def transition(self, state: Tensor, action: Tensor) -> Tensor:
        """Takes one step of Euler's method."""
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

    def observation(self, state: Tensor) -> Tensor:
        """Shows the state itself, `[B, 4]`."""
        return state

    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Returns 1 for every step, or what `sutton_barto_reward` says."""
        if self.sutton_barto_reward:
            return tf.where(self.terminal(next_state), -1.0, 0.0)
        return tf.ones(tf.shape(next_state)[:1])

    def terminal(self, state: Tensor) -> Tensor:
        """Returns whether the cart left the track or the pole fell."""
        left = tf.abs(state[..., 0]) > self.max_position
        return left | (tf.abs(state[..., 2]) > self.max_angle)
