"""A value head on a language model."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from kpg.models.language.text_model import TextModel
from kpg.models.language.text_trunk import TextTrunk


@keras.saving.register_keras_serializable(package="kpg")
class LanguageCritic(TextModel):
    """Estimates the value of a text from the features behind its last token.

    The head starts at zero, so that a new critic changes no advantage.

    Reference: Ziegler et al., "Fine-tuning language models from human preferences"
    (2019), https://arxiv.org/abs/1909.08593, whose policy and value share all but the
    head.

    Args:
        trunk: What reads the text: that of a language policy, whose `critic` this is,
            or one of its own, as `LanguageTrunk(causal_lm)` or that of another policy.
        shared: Whether the trunk is the policy's. Defaults to `False`.
    """

    def __init__(self, trunk: TextTrunk, shared: bool = False, **kwargs: Any) -> None:
        super().__init__(trunk, **kwargs)
        self.shared = shared
        self.head = keras.layers.Dense(
            1, kernel_initializer="zeros", dtype="float32", name="value"
        )
        self.head.build((None, trunk.width))

    def outputs(self, features: tf.Tensor, observations: Any = None) -> tf.Tensor:
        """Returns float32 values `[...]` of `[..., F]` features."""
        return tf.squeeze(self.head(tf.cast(features, tf.float32)), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """See `keras.Model.get_config`; whose trunk is shared is not part of it."""
        if self.shared:
            return {"name": self.name, "trunk": True}
        own = keras.saving.serialize_keras_object(self.trunk)
        return {"name": self.name, "trunk": False, "own_trunk": own}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None, trunk: Any = None
    ) -> LanguageCritic:
        """Makes a critic, or finds that of a policy.

        Args:
            config: From `get_config`.
            custom_objects: See `keras.saving.deserialize_keras_object`.
            trunk: The policy whose trunk it shares, if it does.

        Raises:
            ValueError: If it does, and there is no policy.
        """
        if not config["trunk"]:
            revive = keras.saving.deserialize_keras_object
            return cls(revive(config["own_trunk"], custom_objects), name=config["name"])
        if trunk is None:
            raise ValueError(
                "A LanguageCritic shares the trunk of a policy, which its own "
                "configuration does not hold; save and load the trainer that has both. "
                "Received: trunk=None"
            )
        return trunk.critic or cls(trunk.trunk, shared=True, name=config["name"])
