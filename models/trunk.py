"""What a policy and its critic may share: everything in front of the head."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import tensorflow as tf
from typing_extensions import Unpack

from kpg import spaces
from kpg.models.backbones import cnn, mlp
from kpg.models.memory import Memory, state_spec
from kpg.models.observation_encoder import ObservationEncoder, is_image
from kpg.types import Config, LayerArguments, Nest, Space


class TrunkArguments(LayerArguments, total=False):
    """What a policy and a critic both take; see `Policy`."""

    backbone: keras.layers.Layer | None
    hidden_units: Sequence[int]
    activation: str
    memory_units: int | None
    memory_steps: int | None
    action_mask: str | None
    seed: int | None


@dataclasses.dataclass(frozen=True)
class TrunkOptions:
    """How a trunk is made; see `Policy`.

    Raises:
        ValueError: If an option would have no effect.
    """

    backbone: keras.layers.Layer | None = None
    hidden_units: Sequence[int] = (64, 64)
    activation: str = "tanh"
    memory: Memory | None = None
    action_mask: str | None = None

    def __post_init__(self) -> None:
        """Refuses options that have no effect."""
        if self.backbone is not None:
            self.refuse("with a `backbone`", "hidden_units", "activation")

    def refuse(self, when: str, *names: str) -> None:
        """Raises a `ValueError` if one of the options is not the default."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            value = tuple(value) if isinstance(value, list) else value
            if field.name in names and value != field.default:
                raise ValueError(
                    f"`{field.name}` has no effect {when}; leave it out. "
                    f"Received: {field.name}={value!r}"
                )

    def to_config(self) -> Config:
        """Returns the options as plain data."""
        serialize = keras.saving.serialize_keras_object
        names = [field.name for field in dataclasses.fields(self)]
        config = {name: serialize(getattr(self, name)) for name in names}
        return {**config, "hidden_units": list(self.hidden_units)}


class Trunk(keras.layers.Layer):
    """Observations → encoder → backbone, and the cell of the memory, if there is one.

    Args:
        observation_space: Space of one environment's observations.
        options: How it is made.
        seeds: Of the initial weights of the backbone, the encoder and the memory.

    Attributes:
        encoder: The `ObservationEncoder`.
        backbone: The layer or model from encoded observations to features.
        memory: The Keras cell, or `None`.
        width: Number of features that a head receives.

    Raises:
        ValueError: If an option is not possible.
    """

    def __init__(
        self,
        observation_space: Space,
        options: TrunkOptions,
        seeds: Sequence[int | None],
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        backbone_seed, encoder_seed, memory_seed = seeds
        self.encoder = ObservationEncoder(
            observation_space, options.action_mask, encoder_seed
        )
        self.backbone: keras.layers.Layer = (
            _backbone_for(observation_space, options, backbone_seed)
            if options.backbone is None
            else options.backbone
        )
        self.memory: keras.layers.Layer | None = None
        if options.memory is not None:
            self.memory = options.memory.cell(memory_seed)
        # Keras would build the layers by calling the model, and hide their errors.
        inputs = tf.nest.map_structure(
            lambda spec: keras.Input(spec.shape, dtype=spec.dtype.name),
            spaces.specs(observation_space),
        )
        features = self.call(inputs)
        self.width = int(features.shape[-1])
        if self.memory is not None:
            self.memory.build((None, self.width))
            self.width = state_spec(self.memory)[0].shape[0]
        self.built = True

    def call(self, observations: Nest, training: bool = False) -> tf.Tensor:
        """Returns features `[B, F]` of a nest of observations `[B, ...]`.

        Raises:
            ValueError: If the observations are not those of the space, or the
                backbone's output is not `[B, F]`. The checks use static shapes only and
                add nothing to a graph.
        """
        features = self.backbone(self.encoder(observations), training=training)
        if len(features.shape) != 2:
            raise ValueError(
                "The backbone must return features of shape [B, features]; end it with "
                f"keras.layers.Flatten(). Received: shape={tuple(features.shape)}"
            )
        return features


def _backbone_for(
    space: Space, options: TrunkOptions, seed: int | None
) -> keras.Sequential:
    if is_image(space):
        options.refuse(
            "on images, whose backbone is a CNN", "hidden_units", "activation"
        )
        return cnn(space.shape or (), seed=seed)
    return mlp(options.hidden_units, options.activation, seed)
