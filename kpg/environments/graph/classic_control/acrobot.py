"""The two-link pendulum with a motor in its elbow, in float32."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from gymnasium import spaces

from kpg.environments.graph.classic_control.pendulum import wrapped
from kpg.environments.graph.functional import FunctionalEnv, Rng
from kpg.types import Tensor


class Acrobot(FunctionalEnv):
    """Two links, the motor between them, to be swung above a line: `Acrobot-v1`.

    A state is `[B, 4]`: θ₁ (rad, 0 hanging down), θ₂ (rad, relative to the first link),
    both in −π … π, and their velocities, at most 4π and 9π rad/s. The actions 0, 1 and
    2 are torques τ of −1, 0 and 1 N m. Both links have mass 1, length l = 1, centre of
    mass c = ½ and moment of inertia I = 1:

    d₁ = c² + l² + c² + 2lc cos θ₂ + 2I, d₂ = c² + lc cos θ₂ + I,
    φ₂ = cg cos(θ₁ + θ₂ − π/2),
    φ₁ = −lc θ̇₂² sin θ₂ − 2lc θ̇₂θ̇₁ sin θ₂ + (c + l)g cos(θ₁ − π/2) + φ₂,
    θ̈₂ = (τ + d₂/d₁ φ₁ − lc θ̇₁² sin θ₂ − φ₂) / (c² + I − d₂²/d₁),
    θ̈₁ = −(d₂θ̈₂ + φ₁) / d₁

    One step of the classical Runge–Kutta method integrates them over 0.2 s. The
    observations are cos θ₁, sin θ₁, cos θ₂, sin θ₂, θ̇₁ and θ̇₂. A step costs 1, the last
    nothing; the episode ends when −cos θ₁ − cos(θ₁ + θ₂) > 1, and is truncated after
    500 steps.

    Reference: Sutton (1996), "Generalization in reinforcement learning: successful
    examples using sparse coarse coding"; the equation of θ̈₂ is that of Sutton and
    Barto's book, as in Gymnasium.
    """

    seconds_per_step = 0.2
    length = 1.0
    centre = 0.5
    inertia = 1.0
    gravity = 9.8
    max_speeds = (4.0 * math.pi, 9.0 * math.pi)
    initial_bound = 0.1
    max_episode_steps = 500

    def __init__(self) -> None:
        super().__init__()
        high = np.array([1.0, 1.0, 1.0, 1.0, *self.max_speeds], np.float32)
        self.observation_space = spaces.Box(-high, high, dtype=np.float32)
        self.action_space = spaces.Discrete(3)

    def initial(self, rng: Rng) -> Tensor:
        """Draws all four numbers near 0."""
        return rng.uniform(-self.initial_bound, self.initial_bound, (4,))

    def transition(self, state: Tensor, action: Tensor) -> Tensor:
        """Takes one step of the Runge–Kutta method."""
        torques = tf.cast(action, tf.float32) - 1.0
        step = self.seconds_per_step
        first = self._rates(state, torques)
        second = self._rates(state + step / 2.0 * first, torques)
        third = self._rates(state + step / 2.0 * second, torques)
        fourth = self._rates(state + step * third, torques)
        state += step / 6.0 * (first + 2.0 * second + 2.0 * third + fourth)
        limits = tf.constant(self.max_speeds)
        speeds = tf.clip_by_value(state[..., 2:], -limits, limits)
        return tf.concat([wrapped(state[..., :2]), speeds], axis=-1)

    def _rates(self, state: Tensor, torques: Tensor) -> Tensor:
        """Returns the derivatives `[B, 4]` of the state."""
        theta1, theta2, speed1, speed2 = tf.unstack(state, axis=-1)
        reach = self.length * self.centre
        square = self.centre**2
        cosine, sine = tf.cos(theta2), tf.sin(theta2)
        d2 = square + reach * cosine + self.inertia
        d1 = d2 + square + self.length**2 + reach * cosine + self.inertia
        # cos(x − π/2) = sin x, which is exact where the links hang down.
        phi2 = self.centre * self.gravity * tf.sin(theta1 + theta2)
        phi1 = phi2 + (self.centre + self.length) * self.gravity * tf.sin(theta1)
        phi1 -= reach * sine * speed2 * (speed2 + 2.0 * speed1)
        pull = torques + d2 / d1 * phi1 - reach * tf.square(speed1) * sine - phi2
        rate2 = pull / (square + self.inertia - tf.square(d2) / d1)
        rate1 = -(d2 * rate2 + phi1) / d1
        return tf.stack([speed1, speed2, rate1, rate2], axis=-1)

    def observation(self, state: Tensor) -> Tensor:
        """Shows the cosine and sine of both angles, then the velocities, `[B, 6]`."""
        theta1, theta2, speed1, speed2 = tf.unstack(state, axis=-1)
        shown = [tf.cos(theta1), tf.sin(theta1), tf.cos(theta2), tf.sin(theta2)]
        return tf.stack([*shown, speed1, speed2], axis=-1)

    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Returns −1, and 0 for the step that ends the episode."""
        return tf.where(self.terminal(next_state), 0.0, -1.0)

    def terminal(self, state: Tensor) -> Tensor:
        """Returns whether the tip is above the line, one link over the pivot."""
        theta1, theta2 = state[..., 0], state[..., 1]
        return -tf.cos(theta1) - tf.cos(theta1 + theta2) > 1.0
