"""The critic: observation to value."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf
from typing_extensions import Unpack, override

from kpg.models import memory as memories
from kpg.models.memory import MemoryLike
from kpg.models.observation_model import ObservationModel
from kpg.models.policy import Policy
from kpg.models.trunk import TrunkArguments, TrunkOptions
from kpg.types import Config, LayerArguments, Nest, Space


@keras.saving.register_keras_serializable(package="kpg")
class Critic(ObservationModel):
    """A Keras model from observations `[B, ...]` to float32 values `[B]`.

    Built as `kpg.models.Policy` is, with the same arguments and errors, and a head of
    one unit and gain 1.

    Args:
        trunk: A policy whose encoder, backbone and memory the critic shares, so that
            both losses train them. Defaults to none.
        action_mask: Key of the observations' entry that the critic does not see.
    """

    def __init__(
        self,
        observation_space: Space,
        backbone: keras.layers.Layer | None = None,
        hidden_units: Sequence[int] = (64, 64),
        activation: str = "tanh",
        memory: MemoryLike | None = None,
        memory_units: int | None = None,
        memory_steps: int | None = None,
        action_mask: str | None = None,
        trunk: Policy | None = None,
        seed: int | None = None,
        channels: str = "auto",
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        remembered = memories.get(memory, memory_units, memory_steps)
        super().__init__(
            observation_space,
            TrunkOptions(
                backbone, hidden_units, activation, remembered, action_mask, channels
            ),
            units=1,
            gain=1.0,
            seed=seed,
            trunk=trunk,
            **kwargs,
        )
        self._shares_trunk = trunk is not None

    @override
    def outputs(self, features: tf.Tensor, observations: Nest) -> tf.Tensor:
        """Returns `[B]` float32 values."""
        return tf.cast(tf.squeeze(self.head(features), axis=-1), tf.float32)

    @override
    def get_config(self) -> Config:
        """Returns the configuration; a shared trunk is a bool."""
        return {**super().get_config(), "trunk": self._shares_trunk}


class CriticArguments(TrunkArguments, total=False):
    """What a critic takes besides its space and its memory; see `Critic`."""

    trunk: Policy | None


def RecurrentCritic(
    observation_space: Space,
    memory: MemoryLike = "lstm",
    **options: Unpack[CriticArguments],
) -> Critic:
    """Returns a `Critic` with a memory, by default "lstm"; see `Critic`."""
    return Critic(observation_space, memory=memory, **options)
