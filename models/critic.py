"""The critic: observation to value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import keras
import tensorflow as tf

from kpg.models.attention import DEFAULT_STEPS
from kpg.models.observation_model import ObservationModel
from kpg.models.policy import Policy
from kpg.models.trunk import TrunkOptions


@keras.saving.register_keras_serializable(package="kpg")
class Critic(ObservationModel):
    """A Keras model that estimates the value of each observation.

    Built as `kpg.models.Policy` is, with a head of one unit and gain 1. Called on
    observations `[B, ...]` it returns float32 values `[B]`.

    Args:
        observation_space: Space of one environment's observations.
        backbone: See `kpg.models.Policy`, as for all that follow but `trunk`.
        hidden_units: Widths of the default backbone. Defaults to `(64, 64)`.
        activation: Activation of the default backbone. Defaults to `"tanh"`.
        memory: None, "gru", "lstm" or "transformer". Defaults to none.
        memory_units: Width of the memory. Defaults to 64.
        memory_steps: Steps before the present one that a transformer sees. Defaults to
            32.
        action_mask: Key of the observations' entry that the critic does not see.
        trunk: A policy whose encoder, backbone and memory the critic shares, so that
            both losses train them. Defaults to none.
        seed: Seed of the initial weights. Defaults to a random one.

    Raises:
        ValueError: If the space is not supported, the backbone's output is not
            `[B, features]`, or an option would have no effect.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        backbone: keras.layers.Layer | None = None,
        hidden_units: Sequence[int] = (64, 64),
        activation: str = "tanh",
        memory: str | None = None,
        memory_units: int = 64,
        memory_steps: int = DEFAULT_STEPS,
        action_mask: str | None = None,
        trunk: Policy | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            observation_space,
            TrunkOptions(
                backbone,
                hidden_units,
                activation,
                memory,
                memory_units,
                memory_steps,
                action_mask,
            ),
            units=1,
            gain=1.0,
            seed=seed,
            trunk=trunk,
            **kwargs,
        )
        self._shares_trunk = trunk is not None

    def outputs(self, features: tf.Tensor, observations: Any) -> tf.Tensor:
        """Returns `[B]` float32 values."""
        return tf.cast(tf.squeeze(self.head(features), axis=-1), tf.float32)

    def get_config(self) -> dict[str, Any]:
        """See `keras.Model.get_config`; whose trunk is shared is not part of it."""
        return {**super().get_config(), "trunk": self._shares_trunk}


def RecurrentCritic(
    observation_space: gym.Space[Any], memory: str = "lstm", **options: Any
) -> Critic:
    """Returns a `Critic` with a memory.

    Args:
        observation_space: Space of one environment's observations.
        memory: "gru", "lstm" or "transformer". Defaults to "lstm".
        **options: See `Critic`.
    """
    return Critic(observation_space, memory=memory, **options)
