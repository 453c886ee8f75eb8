"""What every family of distributions can do, whatever its action space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kpg.graph import probability as tfp

# Finite, so that no NaN can come of it: a probability underflows to exactly 0, and so
# does everything that is multiplied by it in a gradient.
FORBIDDEN = -1e9


class Family(ABC):
    """The distributions over one action space.

    "Raw" actions are what is sampled and what trajectories store; `to_environment`
    makes of them what the space takes. Both are nests as TensorFlow knows them (a
    tensor, a tuple, a dictionary, nested), of the structure of the space. Parameters
    are float32 `[..., P]`, with any batch axes in front.

    Args:
        action_space: The space of one environment.
        raw_spec: Nest of `tf.TensorSpec` of one raw action.
        constants: float32 `[P]`: NaN where a parameter is an output of the network,
            otherwise the initial value of a parameter that is a weight of its own and
            does not depend on the observation.
        num_choices: Length of an action mask, 0 where nothing can be masked.
    """

    def __init__(
        self,
        action_space: gym.Space[Any],
        raw_spec: Any,
        constants: NDArray[np.float32],
        num_choices: int,
    ) -> None:
        self.action_space = action_space
        self.raw_spec = raw_spec
        self.constants = constants
        self.num_choices = num_choices

    @property
    def parameters_shape(self) -> tuple[int]:
        """Shape `(P,)` of the parameters of one distribution."""
        return (len(self.constants),)

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
            `[..., P]`. A row that has no legal choice, for one component of its action
            at least, is NaN: nothing can be drawn from it.

        Raises:
            ValueError: If the mask is not of that shape, or nothing can be masked.
        """

    @abstractmethod
    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> Any:
        """Draws one raw action for each row, given a stateless `[2]` int32 seed."""

    @abstractmethod
    def mode(self, parameters: tf.Tensor) -> Any:
        """Returns the raw action that a policy takes when it does not explore."""

    @abstractmethod
    def log_prob(self, parameters: tf.Tensor, raw: Any) -> tf.Tensor:
        """Returns `[...]`: the log-probability of each raw action, in nats."""

    @abstractmethod
    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        """Returns `[...]` entropies, in nats."""

    @abstractmethod
    def to_environment(self, raw: Any) -> Any:
        """Turns raw actions into members of the action space."""


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


def no_choices(action_space: gym.Space[Any]) -> ValueError:
    """Returns what to raise where a mask has nothing to forbid."""
    return ValueError(
        "An action mask needs a Discrete, MultiDiscrete or MultiBinary action space, "
        f"or one inside a Tuple or Dict. Received: {action_space!r}"
    )


def event_sum(values: tf.Tensor, action_space: gym.Space[Any]) -> tf.Tensor:
    """Sums `[..., *shape]` over the numbers of an action."""
    rank = len(action_space.shape or ())
    return tf.reduce_sum(values, list(range(-rank, 0)))
