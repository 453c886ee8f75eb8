"""Language models as plain data: adapters and frozen weights included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping

import keras

from kpg.types import Config, Tensor


def to_config(lm: keras.Model) -> Config:
    """Returns what makes a model of KerasHub again, except for its weights.

    Its own configuration knows neither its adapters (LoRA) nor its frozen weights.
    """
    model = keras.saving.serialize_keras_object(lm)
    # KerasHub compiles its models at once, and cannot do so from a configuration.
    model.pop("compile_config", None)
    # KerasHub's Llama does not say that its output weights are its embedding.
    if hasattr(lm.backbone, "tie_word_embeddings"):
        backbone = model["config"]["backbone"]["config"]
        backbone["tie_word_embeddings"] = lm.backbone.tie_word_embeddings
    layers, weights = lm.backbone._flatten_layers(), lm.backbone.weights
    return {
        "model": model,
        "adapters": [
            [index, layer.lora_rank, layer.lora_alpha]
            for index, layer in enumerate(layers)
            if getattr(layer, "lora_enabled", False)
        ],
        "frozen": [index for index, w in enumerate(weights) if not w.trainable],
    }


def revived(
    config: Config, custom_objects: Mapping[str, object] | None = None
) -> keras.Model:
    """Makes the model that `to_config` described."""
    lm = keras.saving.deserialize_keras_object(config["model"], custom_objects)
    layers = lm.backbone._flatten_layers()
    for index, rank, alpha in config["adapters"]:
        layers[index].enable_lora(rank, lora_alpha=alpha)
    frozen = set(config["frozen"])
    for index, weight in enumerate(lm.backbone.weights):
        weight.trainable = index not in frozen
    return lm


class Adapters(keras.layers.Layer):
    """Saves the weights of adapted layers as they are; hold it in a private attribute.

    Keras saves an adapted layer with the product added to its kernel, and loads
    adapters of zeros, which never learn again. Private attributes are loaded last.
    """

    def __init__(self, backbone: keras.Model) -> None:
        super().__init__(name="adapters")
        # Keras does not look into functions: the weights are the backbone's.
        self._backbone: Callable[[], keras.Model] = lambda: backbone
        self.built = True

    def save_own_variables(self, store: MutableMapping[str, Tensor]) -> None:
        """Stores the weights by the number of their layer and their own."""
        for key, weight in self._named():
            store[key] = weight

    def load_own_variables(self, store: MutableMapping[str, Tensor]) -> None:
        """Loads what there is: a file of a model without adapters has nothing here."""
        for key, weight in self._named():
            if key in store.keys():
                weight.assign(store[key])

    def _named(self) -> Iterator[tuple[str, keras.Variable]]:
        for number, layer in enumerate(self._backbone()._flatten_layers()):
            if getattr(layer, "lora_enabled", False):
                for index, weight in enumerate(layer.weights):
                    yield f"{number} {index}", weight
