"""What a policy and its critic may share: everything in front of the head."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import tensorflow as tf
from typing_extensions import override

from kpg import checks, spaces, values
from kpg.models.backbones import cnn, mlp
from kpg.models.memory import Memory, state_spec
from kpg.models.observation_encoder import ObservationEncoder, is_image
from kpg.types import Config, LayerArguments, Nest, Space

_OF_MLP = ("hidden_units", "activation")


class TrunkArguments(LayerArguments, total=False):
    """What a policy and a critic both take; see `Policy`."""

    backbone: keras.layers.Layer | None
    hidden_units: Sequence[int]
    activation: str
    memory_units: int | None
    memory_steps: int | None
    action_mask: str | None
    seed: int | None
    channels: str


@dataclasses.dataclass(frozen=True)
class TrunkOptions(values.Value):
    """How a trunk is made; see `Policy`. Options without effect are a `ValueError`."""

    backbone: keras.layers.Layer | None = None
    hidden_units: Sequence[int] = (64, 64)
    activation: str = "tanh"
    memory: Memory | None = None
    action_mask: str | None = None
    channels: str = "auto"

    def __post_init__(self) -> None:
        units = checks.whole_numbers("hidden_units", self.hidden_units)
        object.__setattr__(self, "hidden_units", units)
        if self.backbone is not None:
            self.refuse("with a `backbone`", *_OF_MLP)

    def refuse(self, when: str, *names: str) -> None:
        """Raises a `ValueError` if one of the options is not the default."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in names and value != field.default:
                raise ValueError(
                    f"`{field.name}` has no effect {when}; leave it out. "
                    f"Received: {field.name}={value!r}"
                )

    @override
    def get_config(self) -> Config:
        return {**super().get_config(), "hidden_units": list(self.hidden_units)}


class Trunk(keras.layers.Layer):
    """Observations → encoder → backbone, and the cell of the memory, if there is one.

    Seeds are those of backbone, encoder and memory; a head receives `width` features.
    """

    def __init__(
        self, space: Space, options: TrunkOptions, seeds: Sequence[int | None]
    ) -> None:
        super().__init__(autocast=False)
        backbone_seed, encoder_seed, memory_seed = seeds
        self.encoder = ObservationEncoder(
            space, options.action_mask, encoder_seed, options.channels
        )
        # Keras would build the layers by calling the model, and hide their errors.
        inputs = tf.nest.map_structure(
            lambda spec: keras.Input(spec.shape, dtype=spec.dtype.name),
            spaces.specs(space),
        )
        encoded = self.encoder(inputs)
        flatten = len(encoded.shape) != 2  # as that of a scalar or a matrix
        self.backbone = _backbone_for(space, options, backbone_seed, flatten)
        memory = options.memory
        self.memory = None if memory is None else memory.cell(memory_seed)
        features = self._features(encoded, training=False)
        self.width = int(features.shape[-1])
        if self.memory is not None:
            self.memory.build((None, self.width))
            self.width = state_spec(self.memory)[0].shape[0]
        self.built = True

    def call(self, observations: Nest, training: bool = False) -> tf.Tensor:
        """Returns features `[B, F]` of a nest of `[B, ...]`; checks static shapes."""
        return self._features(self.encoder(observations), training)

    def _features(self, encoded: tf.Tensor, training: bool) -> tf.Tensor:
        features = self.backbone(encoded, training=training)
        if len(features.shape) != 2:
            raise ValueError(
                "The backbone must return features of shape [B, features]; end it with "
                f"keras.layers.Flatten(). Received: shape={tuple(features.shape)}"
            )
        return features


def _backbone_for(
    space: Space, options: TrunkOptions, seed: int | None, flatten: bool
) -> keras.layers.Layer:
    if options.backbone is not None:
        return options.backbone
    if is_image(space, options.channels):
        options.refuse("on images, whose backbone is a CNN", *_OF_MLP)
        return cnn(space.shape or (), seed=seed, channels=options.channels)
    return mlp(options.hidden_units, options.activation, seed, flatten)
