"""The critic: observation to value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import keras
import tensorflow as tf

from kpg.models.observation_model import ObservationModel


@keras.saving.register_keras_serializable(package="kpg")
class Critic(ObservationModel):
    """A Keras model that estimates the value of each observation.

    Built as `kpg.models.Policy` is, with a head of one unit and gain 1.

    Args:
        observation_space: Gymnasium `Box`, the space of one environment.
        backbone: Any Keras layer or model from `[B, ...]` to `[B, features]`. Defaults
            to `kpg.models.mlp(hidden_units, activation)`.
        hidden_units: Widths of the default backbone. Defaults to `(64, 64)`.
        activation: Activation of the default backbone. Defaults to `"tanh"`.
        seed: Seed of the initial weights. Defaults to a random one.

    Raises:
        ValueError: If the space is not supported, or the backbone's output is not
            `[B, features]`.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        backbone: keras.layers.Layer | None = None,
        hidden_units: Sequence[int] = (64, 64),
        activation: str = "tanh",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            observation_space,
            backbone=backbone,
            hidden_units=hidden_units,
            activation=activation,
            seed=seed,
            units=1,
            gain=1.0,
            **kwargs,
        )
        self.build((None, *self.observation_space.shape))

    def call(self, observations: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns `[B]` float32 values for `[B, ...]` observations."""
        return keras.ops.squeeze(self.head_outputs(observations, training), axis=-1)
