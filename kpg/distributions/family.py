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

    "Raw" actions are sampled and stored; `to_environment` turns them into members of
    the space. Both are nests with the structure of the space. Parameters are float32
    `[..., P]`, with any batch axes in front.

    For a family of your own over a `Box`, derive from the closest one (`NormalFamily`,
    `BoxFamily`), override what differs, and run `kpg.testing.check_family` on it. A
    class with a missing or misspelt method is refused with a `TypeError`.

    Args:
        action_space: The space of one environment.
        raw_spec: Nest of `tf.TensorSpec` of one raw action.
        constants: float32 `[P]`: NaN where the network outputs a parameter, otherwise
            the initial value of a parameter that is a weight of its own.
        num_choices: Length of an action mask, 0 where nothing can be masked.
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
        """Returns the space as plain data; Keras registers no class without this."""
        return {"action_space": spaces.to_config(self.action_space)}

    @abstractmethod
    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """Turns `[..., P]` into the distribution's own parameters, by TFP's names."""

    @abstractmethod
    def distribution(self, parameters: tf.Tensor) -> tfp.distributions.Distribution:
        """Returns the TFP distribution whose density `log_prob` is.

        One event is one action: the environment's for tanh-normal and Beta, else raw.
        """

    @abstractmethod
    def masked(self, parameters: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Returns parameters with probability and gradient 0 for illegal choices.

        A row without a legal choice, even for one component of its action, is NaN.

        Args:
            parameters: `[..., P]`.
            mask: `[..., num_choices]`, booleans or zeros and ones of any dtype: which
                choices are legal, in the order of the logits.

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
    """Returns a mask as booleans `[..., num_choices]`, after a check of its shape."""
    if family.num_choices == 0:
        raise ValueError(
            "An action mask needs a Discrete, MultiDiscrete or MultiBinary action "
            f"space, or one inside a Tuple or Dict. Received: {family.action_space!r}"
        )
    legal = tf.cast(mask, tf.bool)
    wanted = [*parameters.shape[:-1], family.num_choices]
    if legal.shape.rank is None or not legal.shape.is_compatible_with(wanted):
        raise ValueError(
            f"A mask for {family.action_space!r} must have the shape {wanted}: the "
            "batch axes of the parameters, then whether each choice is legal. "
            f"Received: shape={legal.shape}"
        )
    return legal


def event_sum(values: tf.Tensor, action_space: Space) -> tf.Tensor:
    """Sums `[..., *shape]` over the numbers of an action."""
    axes = list(range(-len(action_space.shape or ()), 0))
    return tf.reduce_sum(values, axes) if axes else values
