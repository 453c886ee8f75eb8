"""What every model of observations has: a space, a normaliser and a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import keras
import tensorflow as tf

from kpg import spaces
from kpg.models.backbones import layer_seeds, mlp, orthogonal
from kpg.models.normalization import RunningNormalization


class ObservationModel(keras.Model):
    """Observation → standardised observation → backbone → dense head.

    Abstract: `Policy` and `Critic` say what the head's outputs mean.

    Args:
        observation_space: Gymnasium `Box`, the space of one environment.
        backbone: Any Keras layer or model from `[B, ...]` to `[B, features]`, or `None`
            for `kpg.models.mlp(hidden_units, activation)`.
        hidden_units: Widths of the default backbone.
        activation: Activation of the default backbone.
        seed: Seed of the initial weights, or `None` for a random one.
        units: Outputs of the head.
        gain: Gain of the head's orthogonal initial weights.

    Raises:
        ValueError: If the space is not supported.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        *,
        backbone: keras.layers.Layer | None,
        hidden_units: Sequence[int],
        activation: str,
        seed: int | None,
        units: int,
        gain: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.observation_space = spaces.check_box(observation_space, "observation")
        self._own_config = {
            "observation_space": spaces.to_config(observation_space),
            "hidden_units": list(hidden_units),
            "activation": activation,
            "seed": seed,
        }
        self._own_backbone = backbone is not None
        # A policy and a critic made from one seed must not begin with equal weights.
        seeds = layer_seeds(seed, stream=type(self).__name__)
        self.normalizer = RunningNormalization(self.observation_space.shape)
        self.backbone = backbone or mlp(hidden_units, activation, next(seeds))
        self.head = keras.layers.Dense(
            units, kernel_initializer=orthogonal(gain, next(seeds)), name="head"
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """See `keras.Model.build`; `input_shape` is `[B, ...]`."""
        # Keras would build the layers by calling the model, and hide its errors.
        self.head_outputs(keras.Input(batch_shape=input_shape), training=False)

    def head_outputs(self, observations: tf.Tensor, training: bool) -> tf.Tensor:
        """Returns the head's `[B, units]` float32 outputs.

        Raises:
            ValueError: If the observations are not `[B, *observation_space.shape]`, or
                the backbone's output is not `[B, features]`. The check sees static
                shapes only and adds nothing to a graph.
        """
        shape, wanted = tuple(observations.shape), self.observation_space.shape
        if len(shape) != len(wanted) + 1 or any(
            size not in (None, want)
            for size, want in zip(shape[1:], wanted, strict=True)
        ):
            raise ValueError(
                f"Observations must be a batch of observations of shape {wanted}; a "
                "single observation needs a leading axis, and another environment "
                f"needs another model. Received: shape={shape}"
            )
        inputs = self.normalizer(keras.ops.cast(observations, "float32"))
        features = self.backbone(inputs, training=training)
        if len(features.shape) != 2:
            raise ValueError(
                "The backbone must return features of shape [B, features]; end it with "
                f"keras.layers.Flatten(). Received: shape={tuple(features.shape)}"
            )
        return keras.ops.cast(self.head(features), "float32")

    def get_config(self) -> dict[str, Any]:
        """See `keras.Model.get_config`."""
        backbone = self.backbone if self._own_backbone else None
        return {
            **super().get_config(),
            **self._own_config,
            "backbone": backbone and keras.saving.serialize_keras_object(backbone),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """See `keras.Model.from_config`."""
        config = dict(config)
        for name in ("observation_space", "action_space"):
            if name in config:
                config[name] = spaces.from_config(config[name])
        config["backbone"] = config["backbone"] and (
            keras.saving.deserialize_keras_object(config["backbone"], custom_objects)
        )
        return cls(**config)
