"""What a policy can be written as: TensorFlow's SavedModel, or converted from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import cast

import tensorflow as tf
from typing_extensions import override

from kpg import checks, imports
from kpg.export.loading import warmup
from kpg.export.loading.servable import quiet
from kpg.export.wire import names
from kpg.export.writing import aliases
from kpg.export.writing.offer import Offer
from kpg.export.writing.verification import Parity, verify

# By name. The converters are imported when they are wanted.
_FORMATS = {
    "saved_model": f"{__name__}:SavedModel",
    "litert": "kpg.export.writing.litert:LiteRT",
    "onnx": "kpg.export.writing.onnx:ONNX",
}


class Format(ABC):
    """One way of writing what a policy offers as the files of a version."""

    def held(self, offer: Offer) -> Offer:
        """Returns the part of an offer that the format can hold.

        Raises:
            ValueError: If a policy can do nothing without the rest.
        """
        return offer

    @abstractmethod
    def write(self, offer: Offer, stage: Path, model_name: str) -> None:
        """Writes the files of a version to the directory `stage`."""

    @abstractmethod
    def verify(self, stage: Path, offer: Offer) -> Parity:
        """Compares what was written with the live policy; see `kpg.export.verify`."""


class SavedModel(Format):
    """What `kpg serve`, TensorFlow Serving and TensorFlow in any language load."""

    @override
    def write(self, offer: Offer, stage: Path, model_name: str) -> None:
        functions = {name: one.traced for name, one in offer.signatures.items()}
        module = offer.module()
        # Keras passes the inputs of `keras.layers.TFSMLayer` as one argument, and a
        # signature takes none without a name.
        greedy = functions[names.GREEDY]
        inputs = dict(offer.signatures[names.GREEDY].inputs)
        module.greedy = tf.function(
            lambda inputs: greedy(**inputs), [inputs], autograph=False
        )
        with quiet():  # no "Assets written to" the staging directory
            tf.saved_model.save(module, str(stage), signatures=functions)
        if any(map(names.is_state, inputs)):
            aliases.write(stage)
        warmup.write(stage, model_name, offer.requests(offer.warm_batch_sizes))

    @override
    def verify(self, stage: Path, offer: Offer) -> Parity:
        with quiet():  # the live policy builds a graph for each shape
            return verify(stage, offer.live, offer.requests(offer.verified_batch_sizes))


def get(name: str) -> Format:
    """Returns the format of a name: "saved_model", "litert" or "onnx"."""
    known = _FORMATS[checks.choice("format", name, _FORMATS)]
    return cast(type[Format], imports.named(known))()
