"""From the observations of any space to one float tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf
from typing_extensions import Self, Unpack

from kpg import spaces
from kpg.models.backbones import cnn, image_axes, layer_seeds
from kpg.models.normalization import RunningNormalization
from kpg.types import Config, LayerArguments, Nest, Space

Normalizer: TypeAlias = tuple[Callable[[Nest], tf.Tensor], RunningNormalization]
"""Selects the rows of observations that a layer's moments follow, and the layer."""


@keras.saving.register_keras_serializable(package="kpg")
class ObservationEncoder(keras.layers.Layer):
    """Turns a batch of observations into numbers for a network.

    A plain `Box` keeps its shape and is standardised; an image (uint8, of rank 2 to 4,
    at least 8 × 8 pixels) is scaled from its bounds to 0 … 1 instead. The leaves of
    other spaces are encoded, flattened and concatenated in the order of `tf.nest`:

    - `Box`: standardised; an image goes through `kpg.models.cnn` with 256 units;
    - `Discrete`, `MultiDiscrete`: one-hot; `MultiBinary`: as it is;
    - `Text`: 16 trained numbers for each character, zeros for the padding.

    Args:
        observation_space: Space of one environment's observations.
        action_mask: Key of a `Dict` whose entry is left out. Defaults to none.
        seed: Seed of the initial weights. Defaults to a random one.
        channels: See `kpg.models.Policy`. Defaults to "auto".

    Raises:
        ValueError: If the space is not supported or lacks that key, or `channels` has
            no effect.
    """

    def __init__(
        self,
        observation_space: Space,
        action_mask: str | None = None,
        seed: int | None = None,
        channels: str = "auto",
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
        self.channels = channels
        _check_effect(channels, [leaves[index] for index in self._seen])
        seeds = layer_seeds(seed, stream="encoder")
        self.encoders = [
            _encoder_of(leaves[index], self._plain, next(seeds), channels)
            for index in self._seen
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
            return self.encoders[0](leaves[0])
        seen = [leaves[index] for index in self._seen]
        parts = [layer(leaf) for leaf, layer in zip(seen, self.encoders, strict=True)]
        return tf.concat([_flatten(part) for part in parts], axis=-1)

    def images(self) -> list[str]:
        """Returns for each image how it is read, in words."""
        leaves = [leaf for _, leaf in spaces.leaves(self.observation_space)]
        return [
            f"{self._names[index] or 'observation'}: {_described(leaves[index], axes)}"
            for index in self._seen
            if (axes := _axes(leaves[index], self.channels)) is not None
        ]

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
            "channels": self.channels,
        }

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Makes the encoder that a configuration, new or old, describes."""
        config = {"channels": "legacy", **config}
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


def is_image(space: Space, channels: str = "auto") -> bool:
    """Whether a space is a `Box` of images; see `ObservationEncoder`."""
    return _axes(space, channels) is not None


def _axes(space: Space, channels: str) -> list[int] | None:
    """Returns the `image_axes` of an image; only uint8 ones are told by the shape."""
    if not isinstance(space, gym.spaces.Box):
        return None
    if space.dtype != np.uint8 and channels not in ("first", "last"):
        return None
    return image_axes(space.shape, channels) if space.is_bounded() else None


def _described(space: Space, axes: Sequence[int]) -> str:
    """Says how an image is read, given its `image_axes`."""
    height, width, *others = axes
    shape = space.shape or ()
    count = math.prod(shape[axis] for axis in others)
    where = ", ".join(f"axis {axis}" for axis in others) or "none"
    return (
        f"image of {shape[height]} × {shape[width]} pixels, channels: {count} ({where})"
        f", values {np.min(space.low)} … {np.max(space.high)}"  # type: ignore[attr-defined]
    )


def _check_effect(channels: str, leaves: Sequence[Space]) -> None:
    """Refuses `channels` where no image is read in another way because of it."""
    own = channels if channels in ("first", "last") else "auto"
    if channels in ("auto", "legacy") or any(is_image(leaf, own) for leaf in leaves):
        return
    raise ValueError(
        "`channels` is for images: bounded Boxes of rank 2 to 4 and 8 × 8 pixels or "
        f"more; leave it out. Received: channels={channels!r} for {leaves}"
    )


def _scaling(space: gym.spaces.Box, legacy: bool) -> keras.layers.Layer:
    """Returns the layer that scales an image from its bounds to 0 … 1."""
    if legacy:
        return keras.layers.Rescaling(1.0 / 255.0)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    scale = 1.0 / np.where(high > low, high - low, 1.0)
    offset = -low * scale
    if np.ptp(low) == 0.0 and np.ptp(scale) == 0.0:
        return keras.layers.Rescaling(scale.flat[0], offset.flat[0])
    return keras.layers.Rescaling(scale, offset)


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


def _encoder_of(
    space: Space, plain: bool, seed: int | None, channels: str
) -> keras.layers.Layer:
    """Makes the layer of one leaf."""
    if isinstance(space, gym.spaces.Box) and is_image(space, channels):
        scaling = _scaling(space, channels == "legacy")
        network = [] if plain else [cnn(space.shape, 256, seed, channels)]
        return keras.Sequential([scaling, *network]) if network else scaling
    if isinstance(space, gym.spaces.Discrete):
        return OneHot([int(space.n)], [int(space.start)])
    if isinstance(space, gym.spaces.MultiDiscrete):
        return OneHot(space.nvec.reshape(-1).tolist(), space.start.reshape(-1).tolist())
    if isinstance(space, gym.spaces.Text):
        return CharacterEmbedding(len(space.character_set), seed=seed)
    if isinstance(space, gym.spaces.MultiBinary):
        return keras.layers.Flatten()
    precise = not np.can_cast(np.dtype(space.dtype), np.float32)
    return RunningNormalization(space.shape or (), precise=precise)


def _selector(index: int) -> Callable[[Nest], tf.Tensor]:
    return lambda observations: tf.nest.flatten(observations)[index]


def _flatten(rows: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tf.cast(rows, tf.float32), [-1, rows.shape[1:].num_elements()])


def _outline(nest: Nest) -> Nest:
    """Shows the structure and the shapes of a nest, without its numbers."""
    return tf.nest.map_structure(lambda leaf: str(getattr(leaf, "shape", leaf)), nest)
