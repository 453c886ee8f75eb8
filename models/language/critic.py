"""A value head on a language model."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf
from typing_extensions import override

from kpg.models.language.text_model import TextModel
from kpg.models.language.text_trunk import TextTrunk
from kpg.types import Config, Tensor


@keras.saving.register_keras_serializable(package="kpg")
class LanguageCritic(TextModel):
    """Estimates the value of a text from the features behind its last token.

    The head starts at zero, so that a new critic changes no advantage.

    Reference: Ziegler et al., "Fine-tuning language models from human preferences"
    (2019), https://arxiv.org/abs/1909.08593, where policy and value share the trunk.

    Args:
        trunk: That of the language policy whose `critic` this is, or one of its own,
            such as `LanguageTrunk(causal_lm)`.
        shared: Whether the trunk is the policy's. Defaults to `False`.
    """

    def __init__(
        self, trunk: TextTrunk, shared: bool = False, **kwargs: object
    ) -> None:
        super().__init__(trunk, **kwargs)
        self.shared = shared
        self.head = keras.layers.Dense(
            1, kernel_initializer="zeros", dtype="float32", name="value"
        )
        self.head.build((None, trunk.width))

    @override
    def outputs(self, features: Tensor, observations: Tensor | None = None) -> Tensor:
        """Returns float32 values `[...]` of `[..., F]` features."""
        return tf.squeeze(self.head(tf.cast(features, tf.float32)), axis=-1)

    @override
    def get_config(self) -> Config:
        """Leaves out a trunk that is shared."""
        if self.shared:
            return {"name": self.name, "trunk": True}
        own = keras.saving.serialize_keras_object(self.trunk)
        return {"name": self.name, "trunk": False, "own_trunk": own}

    @classmethod
    @override
    def from_config(
        cls,
        config: Config,
        custom_objects: Mapping[str, object] | None = None,
        trunk: TextModel | None = None,
    ) -> LanguageCritic:
        """Makes a critic, or finds that of the policy `trunk` whose trunk it shares.

        Raises:
            ValueError: If it shares a trunk and no policy is given.
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
        shared: LanguageCritic | None = getattr(trunk, "critic", None)
        return shared or cls(trunk.trunk, shared=True, name=config["name"])
