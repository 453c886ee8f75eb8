"""A value head on a language model."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from kpg.models.language.text_model import TextModel
from kpg.models.language.trunk import LanguageTrunk


@keras.saving.register_keras_serializable(package="kpg")
class LanguageCritic(TextModel):
    """Estimates the value of a text from the features behind its last token.

    The head starts at zero, so that a new critic changes no advantage.

    Reference: Ziegler et al., "Fine-tuning language models from human preferences"
    (2019), https://arxiv.org/abs/1909.08593, whose policy and value share all but the
    head.

    Args:
        trunk: What reads the text, usually that of a `CausalLMPolicy`, whose `critic`
            this is.
    """

    def __init__(self, trunk: LanguageTrunk, **kwargs: Any) -> None:
        super().__init__(trunk, **kwargs)
        self.head = keras.layers.Dense(
            1, kernel_initializer="zeros", dtype="float32", name="value"
        )
        self.head.build((None, trunk.width))

    def outputs(self, features: tf.Tensor, observations: Any = None) -> tf.Tensor:
        """Returns float32 values `[...]` of `[..., F]` features."""
        return tf.squeeze(self.head(tf.cast(features, tf.float32)), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """See `keras.Model.get_config`; whose trunk is shared is not part of it."""
        return {"name": self.name, "trunk": True}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None, trunk: Any = None
    ) -> LanguageCritic:
        """Makes the critic of a policy.

        Args:
            config: From `get_config`.
            custom_objects: Not needed.
            trunk: The policy whose trunk it shares.

        Raises:
            ValueError: If there is no policy.
        """
        if trunk is None:
            raise ValueError(
                "A LanguageCritic shares the trunk of a policy, which its own "
                "configuration does not hold; save and load the trainer that has both. "
                "Received: trunk=None"
            )
        return trunk.critic or cls(trunk.trunk, name=config["name"])
