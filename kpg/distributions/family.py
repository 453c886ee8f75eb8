"""What every family of distributions can do, whatever its action space."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import tensorflow as tf

from kpg import contracts, spaces
from kpg.graph import probability as tfp
from kpg.types import Array, Config, Nest, Space

# Finite, so that it cannot produce NaN: a probability underflows to exactly 0, and so
# does everything that is multiplied by it in a gradient.
FORBIDDEN = -1e9


class Family(ABC):
    """The distributions over one action space.

    "Raw" actions are what is sampled and what trajectories store; `to_environment`
    turns them into members of the space. Both are nests as TensorFlow knows them (a
    tensor, a tuple, a dictionary, nested), with the structure of the space. Parameters
    are float32 `[..., P]`, with any batch axes in front.

    For a family of your own over a `Box`, derive from the closest one (`NormalFamily`,
    `BoxFamily`), override what differs, and run `kpg.testing.check_family` on it.

    Args:
        action_space: The space of one environment.
        raw_spec: Nest of `tf.TensorSpec` of one raw action.
        constants: float32 `[P]`: NaN where a parameter is an output of the network,
            otherwise the initial value of a parameter that is a weight of its own and
            does not depend on the observation.
        num_choices: Length of an action mask, 0 where nothing can be masked.

    Raises:
        TypeError: If a class lacks a method or has a misspelt one.
    """

    def __init__(
        self, action_space: Space, raw_spec: Nest, constants: Array, num_choices: int
    ) -> None:
        self.action_space = action_space
        self.raw_spec = raw_spec
        self.constants = constants
        self.num_choices = num_choices

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        contracts.check_names(cls, Family)

    @property
    def parameters_shape(self) -> tuple[int]:
        """Shape `(P,)` of the parameters of one distribution."""
        return (len(self.constants),)

    def get_config(self) -> Config:
        """Returns the space as plain data.

        Keras registers no class without this method. A policy saves the class and its
        other arguments itself.
        """
        return {"action_space": spaces.to_config(self.action_space)}

    @abstractmethod
    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """Turns `[..., P]` into the distribution's own parameters, by TFP's names."""

    @abstractmethod
    def distribution(self, parameters: tf.Tensor) -> tfp.distributions.Distribution:
        """Returns the TFP distribution whose density `log_prob` is.

        One event is one action: the environment's where a transformation to a bounded
        `Box` is part of the family (tanh-normal, Beta), the raw one otherwise.
        """

    @abstractmethod
    def masked(self, parameters: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Makes choices impossible: probability and gradient become exactly 0.

        Args:
            parameters: `[..., P]`.
            mask: `[..., num_choices]`, booleans or zeros and ones of any dtype: which
                choices are legal, in the order of the logits.

        Returns:
            `[..., P]`. A row without a legal choice, even for one component of its
            action, is NaN: nothing can be drawn from it.

        Raises:
            ValueError: If the mask has another shape, or nothing can be masked.
        """

    @abstractmethod
    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> Nest:
        """Draws one raw action for each row, given a stateless `[2]` int32 seed."""

    @abstractmethod
    def mode(self, parameters: tf.Tensor) -> Nest:
        """Returns the raw action that a policy takes when it does not explore."""

    @abstractmethod
    def log_prob(self, parameters: tf.Tensor, raw: Nest) -> tf.Tensor:
        """Returns `[...]`: the log-probability of each raw action, in nats."""

    @abstractmethod
    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        """Returns `[...]` entropies, in nats."""

    @abstractmethod
    def to_environment(self, raw: Nest) -> Nest:
        """Turns raw actions into members of the action space."""


def learned(size: int) -> Array:
    """Returns the `constants` of a family whose parameters all come from a network."""
    return np.full([size], np.nan, np.float32)


def legal_choices(family: Family, parameters: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns a mask as booleans `[..., num_choices]`.

    Raises:
        ValueError: If the mask does not have a value for each choice of each row, or
            there are no choices.
    """
    if family.num_choices == 0:
        raise no_choices(family.action_space)
    legal = tf.cast(mask, tf.bool)
    wanted = [*parameters.shape[:-1], family.num_choices]
    if legal.shape.rank is None or not legal.shape.is_compatible_with(wanted):
        raise ValueError(
            f"A mask for {family.action_space!r} must have the shape {wanted}: the "
            "batch axes of the parameters, then whether each choice is legal. "
            f"Received: shape={legal.shape}"
        )
    return legal


def forbid(logits: tf.Tensor, legal: tf.Tensor, possible: tf.Tensor) -> tf.Tensor:
    """Replaces the logits of choices that are not legal; see `Family.masked`.

    Args:
        logits: `[..., M]`.
        legal: Booleans `[..., M]`.
        possible: Booleans `[..., 1]`: whether there is an action in this row.
    """
    return tf.where(possible, tf.where(legal, logits, FORBIDDEN), float("nan"))


def no_choices(action_space: Space) -> ValueError:
    """Returns the error for a mask where there is nothing to mask."""
    return ValueError(
        "An action mask needs a Discrete, MultiDiscrete or MultiBinary action space, "
        f"or one inside a Tuple or Dict. Received: {action_space!r}"
    )


def event_sum(values: tf.Tensor, action_space: Space) -> tf.Tensor:
    """Sums `[..., *shape]` over the numbers of an action."""
    rank = len(action_space.shape or ())
    return tf.reduce_sum(values, list(range(-rank, 0)))
