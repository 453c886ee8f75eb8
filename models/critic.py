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
    """A Keras model that estimates the value of each observation.

    Built as `kpg.models.Policy` is, with a head of one unit and gain 1. Called on
    observations `[B, ...]` it returns float32 values `[B]`.

    Args:
        observation_space: Space of one environment's observations.
        backbone: See `kpg.models.Policy`, as for all that follow but `trunk`.
        hidden_units: Widths of the default backbone. Defaults to `(64, 64)`.
        activation: Activation of the default backbone. Defaults to `"tanh"`.
        memory: A memory between backbone and head. Defaults to none.
        memory_units: Shorthand for the memory's `units`.
        memory_steps: Shorthand for the memory's `steps`.
        action_mask: Key of the observations' entry that the critic does not see.
        trunk: A policy whose encoder, backbone and memory the critic shares, so that
            both losses train them. Defaults to none.
        seed: Seed of the initial weights. Defaults to a random one.
        **kwargs: `name`, `dtype` and `trainable` of a Keras model.

    Raises:
        ValueError: If the space is not supported, the backbone's output is not
            `[B, features]`, or an option would have no effect.
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
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        remembered = memories.get(memory, memory_units, memory_steps)
        super().__init__(
            observation_space,
            TrunkOptions(backbone, hidden_units, activation, remembered, action_mask),
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
        """Returns the configuration, without the policy whose trunk is shared."""
        return {**super().get_config(), "trunk": self._shares_trunk}


class CriticArguments(TrunkArguments, total=False):
    """What a critic takes besides its space and its memory; see `Critic`."""

    trunk: Policy | None


def RecurrentCritic(
    observation_space: Space,
    memory: MemoryLike = "lstm",
    **options: Unpack[CriticArguments],
) -> Critic:
    """Returns a `Critic` with a memory.

    Args:
        observation_space: Space of one environment's observations.
        memory: See `kpg.models.Policy`. Defaults to "lstm".
        **options: See `Critic`.
    """
    return Critic(observation_space, memory=memory, **options)
