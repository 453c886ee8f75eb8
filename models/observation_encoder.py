"""From the observations of any space to one float tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf
from typing_extensions import Self, Unpack

from kpg import spaces
from kpg.models.backbones import SMALLEST_IMAGE, cnn, layer_seeds, smallest_side
from kpg.models.normalization import RunningNormalization
from kpg.types import Config, LayerArguments, Nest, Space

Normalizer: TypeAlias = tuple[Callable[[Nest], tf.Tensor], RunningNormalization]
"""Selects the rows of observations that a layer's moments follow, and the layer."""


@keras.saving.register_keras_serializable(package="kpg")
class ObservationEncoder(keras.layers.Layer):
    """Turns a batch of observations into numbers for a network.

    A plain `Box` keeps its shape and is standardised; an image (uint8, of rank 3, at
    least 8 × 8 pixels) is divided by 255 instead. The leaves of other spaces are
    encoded, flattened and concatenated in the order of `tf.nest`:

    - `Box`: standardised; an image goes through `kpg.models.cnn` with 256 units;
    - `Discrete`, `MultiDiscrete`: one-hot; `MultiBinary`: as it is;
    - `Text`: 16 trained numbers for each character, zeros for the padding.

    Args:
        observation_space: Space of one environment's observations.
        action_mask: Key of a `Dict` whose entry is left out. Defaults to none.
        seed: Seed of the initial weights. Defaults to a random one.

    Raises:
        ValueError: If the space is not supported or lacks that key.
    """

    def __init__(
        self,
        observation_space: Space,
        action_mask: str | None = None,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        spaces.check(observation_space, "observation")
        self.observation_space = observation_space
        self.action_mask = action_mask
        self._seed = seed
        self._specs = spaces.specs(observation_space)
        specs = tf.nest.flatten(self._specs)
        self._plain = isinstance(observation_space, gym.spaces.Box)
        paths, leaves = zip(*spaces.leaves(observation_space), strict=True)
        self._names = tuple("/".join(path) for path in paths)
        self._seen = seen_leaves(observation_space, action_mask)
        seeds = layer_seeds(seed, stream="encoder")
        self.encoders = [
            _encoder_of(leaves[index], self._plain, next(seeds)) for index in self._seen
        ]
        for index, layer in zip(self._seen, self.encoders, strict=True):
            if not layer.built:
                layer.build((None, *specs[index].shape))
        self.built = True

    @property
    def normalizers(self) -> list[Normalizer]:
        """Pairs `(select, layer)`: the layer's moments follow the selected rows."""
        return [
            (_selector(index), layer)
            for index, layer in zip(self._seen, self.encoders, strict=True)
            if isinstance(layer, RunningNormalization)
        ]

    def call(self, observations: Nest) -> tf.Tensor:
        """Encodes a nest of `[B, ...]`: `[B, *shape]` of a plain `Box`, else `[B, F]`.

        Structure or static shapes that are not those of the space are a `ValueError`.
        """
        leaves = self._leaves(observations)
        if self._plain:
            return self.encoders[0](tf.cast(leaves[0], tf.float32))
        seen = [leaves[index] for index in self._seen]
        parts = [layer(leaf) for leaf, layer in zip(seen, self.encoders, strict=True)]
        return tf.concat([_flatten(part) for part in parts], axis=-1)

    def _leaves(self, observations: Nest) -> list[tf.Tensor]:
        """Checks structure and static shapes, and flattens the observations."""
        try:
            tf.nest.assert_same_structure(self._specs, observations)
        except (TypeError, ValueError) as error:
            raise ValueError(
                "Observations must have the structure of their space, "
                f"{self.observation_space}; encode what an environment emits with "
                f"kpg.spaces.encode. Received: {_outline(observations)}"
            ) from error
        leaves: list[tf.Tensor] = tf.nest.flatten(observations)
        specs = tf.nest.flatten(self._specs)
        for name, spec, leaf in zip(self._names, specs, leaves, strict=True):
            if not tf.TensorShape([None, *spec.shape]).is_compatible_with(leaf.shape):
                where = f" at {name!r}" if name else ""
                raise ValueError(
                    "Observations must be a batch of observations of shape "
                    f"{tuple(spec.shape)}{where}; add a leading axis to a single "
                    "observation, and use another model for another environment. "
                    f"Received: shape={tuple(leaf.shape)}"
                )
        return leaves

    def get_config(self) -> Config:
        """Returns what `from_config` makes an equal object of."""
        return {
            **super().get_config(),
            "observation_space": spaces.to_config(self.observation_space),
            "action_mask": self.action_mask,
            "seed": self._seed,
        }

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Makes the encoder that a configuration describes."""
        config = dict(config)
        config["observation_space"] = spaces.from_config(config["observation_space"])
        return cls(**config)


@keras.saving.register_keras_serializable(package="kpg")
class OneHot(keras.layers.Layer):
    """One-hot codes of K integers; the i-th has `counts[i]` values from `starts[i]`."""

    def __init__(
        self,
        counts: Sequence[int],
        starts: Sequence[int],
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.counts = [int(count) for count in counts]
        self.starts = [int(start) for start in starts]

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns float32 zeros and ones `[B, ΣN]` for integers `[B, ...]`."""
        flat = tf.reshape(inputs, [-1, len(self.counts)])
        owners = np.repeat(np.arange(len(self.counts)), self.counts)
        choices = [
            np.arange(start, start + count)
            for start, count in zip(self.starts, self.counts, strict=True)
        ]
        wanted = tf.constant(np.concatenate(choices), flat.dtype)
        return tf.cast(tf.gather(flat, owners, axis=1) == wanted, tf.float32)

    def get_config(self) -> Config:
        """Returns what `from_config` makes an equal object of."""
        return {**super().get_config(), "counts": self.counts, "starts": self.starts}


@keras.saving.register_keras_serializable(package="kpg")
class CharacterEmbedding(keras.layers.Layer):
    """Trained numbers for each id 1 … `characters`, and zeros for the padding, id 0."""

    def __init__(
        self,
        characters: int,
        units: int = 16,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.characters = characters
        self.units = units
        self.seed = seed
        normal = keras.initializers.RandomNormal(stddev=1.0, seed=seed)
        self.embeddings = self.add_weight(
            (characters, units), normal, autocast=False, name="embeddings"
        )
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns `[B, length, units]` for ids `[B, length]`."""
        # A product has a dense gradient, and id 0 has no row: it stays zero.
        return tf.one_hot(inputs - 1, self.characters) @ self.embeddings

    def get_config(self) -> Config:
        """Returns what `from_config` makes an equal object of."""
        return {
            **super().get_config(),
            "characters": self.characters,
            "units": self.units,
            "seed": self.seed,
        }


def is_image(space: Space) -> bool:
    """Whether a space is a uint8 `Box` of rank 3 and at least 8 × 8 pixels."""
    return (
        isinstance(space, gym.spaces.Box)
        and space.dtype == np.uint8
        and smallest_side(space.shape) >= SMALLEST_IMAGE
    )


def seen_leaves(observation_space: Space, action_mask: str | None) -> tuple[int, ...]:
    """Returns the positions of the leaves that a network sees: all but the mask's."""
    paths = [path for path, _ in spaces.leaves(observation_space)]
    if action_mask is None:
        return tuple(range(len(paths)))
    seen = tuple(i for i, path in enumerate(paths) if path[:1] != (action_mask,))
    is_dict = isinstance(observation_space, gym.spaces.Dict)
    if not is_dict or not 0 < len(seen) < len(paths):
        raise ValueError(
            "`action_mask` must be a key of a Dict observation space that has other "
            "keys, too; kpg.environments.ActionMaskFromInfo adds one. Received: "
            f"action_mask={action_mask!r}, observation_space={observation_space}"
        )
    return seen


def _encoder_of(space: Space, plain: bool, seed: int | None) -> keras.layers.Layer:
    """Makes the layer of one leaf."""
    if is_image(space):
        scaling = keras.layers.Rescaling(1.0 / 255.0)
        images = keras.Sequential([scaling, cnn(space.shape or (), 256, seed)])
        return scaling if plain else images
    if isinstance(space, gym.spaces.Discrete):
        return OneHot([int(space.n)], [int(space.start)])
    if isinstance(space, gym.spaces.MultiDiscrete):
        return OneHot(space.nvec.reshape(-1).tolist(), space.start.reshape(-1).tolist())
    if isinstance(space, gym.spaces.Text):
        return CharacterEmbedding(len(space.character_set), seed=seed)
    if isinstance(space, gym.spaces.MultiBinary):
        return keras.layers.Flatten()
    return RunningNormalization(space.shape or ())


def _selector(index: int) -> Callable[[Nest], tf.Tensor]:
    return lambda observations: tf.nest.flatten(observations)[index]


def _flatten(rows: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tf.cast(rows, tf.float32), [-1, rows.shape[1:].num_elements()])


def _outline(nest: Nest) -> Nest:
    """Shows the structure and the shapes of a nest, without its numbers."""
    return tf.nest.map_structure(lambda leaf: str(getattr(leaf, "shape", leaf)), nest)
