"""A Keras model all of which `tf.train.Checkpoint` finds."""

from __future__ import annotations

import keras

from kpg.types import Config


class TrackedModel(keras.Model):
    """A model whose variables TensorFlow finds wherever they are.

    Keras looks into lists and dictionaries of layers, and TensorFlow does not: it would
    leave out what is in them without a word.
    """

    def _trackable_children(
        self, save_type: str = "checkpoint", **kwargs: object
    ) -> Config:
        children: Config = super()._trackable_children(save_type, **kwargs)
        if save_type == "checkpoint":
            children |= {f"variable_{i}": v for i, v in enumerate(self.variables)}
        return children
