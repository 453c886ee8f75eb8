"""Distributions over actions of several parts: `Tuple` and `Dict` spaces, nested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg import spaces
from kpg.distributions.family import Family, legal_choices
from kpg.graph import probability as tfp
from kpg.graph import random
from kpg.types import Nest


class CompositeFamily(Family):
    """One family for each part of an action, independent of the others.

    Raw actions have the structure of the space. Parameters and masks are those of the
    parts in the order of `tf.nest` (keys sorted); log-probabilities and entropies are
    sums over the parts.

    Args:
        action_space: A Gymnasium `Tuple` or `Dict`, nested or not.
        parts: The families of `kpg.spaces.leaves(action_space)`, in that order.
    """

    def __init__(
        self,
        action_space: gym.spaces.Tuple[Any] | gym.spaces.Dict,
        parts: Sequence[Family],
    ) -> None:
        self.parts = tuple(parts)
        self._structure = spaces.specs(action_space)
        self._sizes = [part.parameters_shape[0] for part in self.parts]
        self._names = ["/".join(path) for path, _ in spaces.leaves(action_space)]
        super().__init__(
            action_space,
            raw_spec=self._nest([part.raw_spec for part in self.parts]),
            constants=np.concatenate([part.constants for part in self.parts]),
            num_choices=sum(part.num_choices for part in self.parts),
        )

    def _nest(self, values: Sequence[Nest]) -> Nest:
        """Puts one value for each part into the structure of the space."""
        return tf.nest.pack_sequence_as(self._structure, values)

    def _pairs(self, parameters: tf.Tensor) -> list[tuple[Family, tf.Tensor]]:
        """Returns the parts and their own parameters."""
        pieces = tf.split(parameters, self._sizes, axis=-1)
        return list(zip(self.parts, pieces, strict=True))

    def _raw(self, raw: Nest) -> list[tf.Tensor]:
        """Returns the raw actions of the parts."""
        tf.nest.assert_same_structure(self._structure, raw)
        flat: list[tf.Tensor] = tf.nest.flatten(raw)
        return flat

    @override
    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the parameters of all parts, with paths as in `arm/0/loc`."""
        pairs = zip(self._names, self._pairs(parameters), strict=True)
        return {
            f"{path}/{name}": value
            for path, (part, piece) in pairs
            for name, value in part.named_parameters(piece).items()
        }

    @override
    def distribution(self, parameters: tf.Tensor) -> tfp.distributions.Distribution:
        """Returns TFP's joint distribution; an event has the structure of the space."""
        pairs = self._pairs(parameters)
        return _joint(self._nest([part.distribution(piece) for part, piece in pairs]))

    @override
    def masked(self, parameters: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        legal = legal_choices(self, parameters, mask)
        masks = tf.split(legal, [part.num_choices for part in self.parts], axis=-1)
        pieces = [
            part.masked(piece, own) if part.num_choices else piece
            for (part, piece), own in zip(self._pairs(parameters), masks, strict=True)
        ]
        joined = tf.concat(pieces, axis=-1)
        impossible = tf.reduce_any(tf.math.is_nan(joined), axis=-1, keepdims=True)
        return tf.where(impossible, float("nan"), joined)

    @override
    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> Nest:
        seeds = tf.unstack(random.seeds([len(self.parts)], seed))
        pairs = zip(self._pairs(parameters), seeds, strict=True)
        return self._nest([part.sample(piece, own) for (part, piece), own in pairs])

    @override
    def mode(self, parameters: tf.Tensor) -> Nest:
        return self._nest([part.mode(piece) for part, piece in self._pairs(parameters)])

    @override
    def log_prob(self, parameters: tf.Tensor, raw: Nest) -> tf.Tensor:
        pairs = zip(self._pairs(parameters), self._raw(raw), strict=True)
        return tf.add_n([part.log_prob(piece, own) for (part, piece), own in pairs])

    @override
    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        pairs = self._pairs(parameters)
        return tf.add_n([part.entropy(piece) for part, piece in pairs])

    @override
    def to_environment(self, raw: Nest) -> Nest:
        pairs = zip(self.parts, self._raw(raw), strict=True)
        return self._nest([part.to_environment(own) for part, own in pairs])


def _joint(nest: Nest) -> tfp.distributions.Distribution:
    """Joins a nest of distributions level by level."""
    if isinstance(nest, dict):
        named = {key: _joint(value) for key, value in nest.items()}
        return tfp.distributions.JointDistributionNamed(named)
    if isinstance(nest, tuple):
        parts = tuple(_joint(value) for value in nest)
        return tfp.distributions.JointDistributionSequential(parts)
    return nest
