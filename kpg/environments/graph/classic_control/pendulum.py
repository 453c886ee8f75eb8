"""The pendulum that is to be swung up, in float32."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from gymnasium import spaces

from kpg.environments.graph.functional import FunctionalEnv, Rng
from kpg.types import Tensor


class Pendulum(FunctionalEnv):
    """A pendulum to be swung up and held upright by a weak motor: `Pendulum-v1`.

    A state is `[B, 2]`: angle θ (rad, 0 upright) and angular velocity θ̇ (−8 … 8
    rad/s). An action `[B, 1]` is a torque u in N m, clipped to −2 … 2:

    θ̇ₜ₊₁ = clip(θ̇ₜ + (3g / 2l · sin θₜ + 3 / ml² · u) · 0.05 s),
    θₜ₊₁ = θₜ + θ̇ₜ₊₁ · 0.05 s

    with l = 1 m, m = 1 kg and `g` = 10 m/s² by default. Observations are cos θ, sin θ
    and θ̇. A step costs θₜ² + 0.1 θ̇ₜ² + 0.001 u², of the state before it. No episode
    ends; it is truncated after 200 steps. Unlike Gymnasium's, θ stays in −π … π, which
    changes no observation and keeps float32 exact.
    """

    max_speed = 8.0
    max_torque = 2.0
    seconds_per_step = 0.05
    mass = 1.0
    length = 1.0
    initial_angle = math.pi
    initial_speed = 1.0
    max_episode_steps = 200

    def __init__(self, g: float = 10.0) -> None:
        super().__init__()
        self.g = g
        high = np.array([1.0, 1.0, self.max_speed], np.float32)
        self.observation_space = spaces.Box(-high, high, dtype=np.float32)
        self.action_space = spaces.Box(
            -self.max_torque, self.max_torque, (1,), np.float32
        )

    def initial(self, rng: Rng) -> Tensor:
        """Draws any angle and a small velocity."""
        angles = rng.uniform(-self.initial_angle, self.initial_angle)
        speeds = rng.uniform(-self.initial_speed, self.initial_speed)
        return tf.stack([angles, speeds], axis=-1)

    def transition(self, state: Tensor, action: Tensor) -> Tensor:
        """Turns the pendulum for one step."""
        angles, speeds = state[..., 0], state[..., 1]
        fall = 3.0 * self.g / (2.0 * self.length) * tf.sin(angles)
        push = 3.0 / (self.mass * self.length**2) * self._torque(action)
        speeds += (fall + push) * self.seconds_per_step
        speeds = tf.clip_by_value(speeds, -self.max_speed, self.max_speed)
        angles = wrapped(angles + speeds * self.seconds_per_step)
        return tf.stack([angles, speeds], axis=-1)

    def observation(self, state: Tensor) -> Tensor:
        """Shows cos θ, sin θ and θ̇, `[B, 3]`."""
        angles, speeds = state[..., 0], state[..., 1]
        return tf.stack([tf.cos(angles), tf.sin(angles), speeds], axis=-1)

    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Returns minus the cost of the state before the step and of the torque."""
        costs = tf.square(wrapped(state[..., 0])) + 0.1 * tf.square(state[..., 1])
        return -costs - 0.001 * tf.square(self._torque(action))

    def terminal(self, state: Tensor) -> Tensor:
        """Returns `False`: there is nothing to reach and nothing to break."""
        return tf.zeros(tf.shape(state)[:1], tf.bool)

    def _torque(self, action: Tensor) -> Tensor:
        return tf.clip_by_value(action[..., 0], -self.max_torque, self.max_torque)


def wrapped(angles: Tensor) -> Tensor:
    """Returns the same angles in −π … π."""
    turns = tf.floor((angles + math.pi) / (2.0 * math.pi))
    return angles - 2.0 * math.pi * turns
