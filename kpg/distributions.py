"""From the numbers a network puts out to a distribution over actions.

A *family* belongs to an action space. It turns parameters `[..., P]` into a TensorFlow
Probability distribution, and it has the few operations of the training loop written
out, since those run a hundred thousand times a second: tests hold them to the
distribution's own results.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import gymnasium as gym
import tensorflow as tf
import tensorflow_probability as tfp

from kpg import random

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class CategoricalByArgmax(tfp.distributions.Categorical):
    """TFP's categorical distribution, sampled in a way that XLA can compile on CPU.

    XLA has no multinomial sampler on CPU, so a sample is the argmax of the logits plus
    Gumbel noise.

    Reference: Maddison, Tarlow and Minka (2014), https://arxiv.org/abs/1411.0030.
    """

    def _sample_n(self, n: int, seed: Any = None) -> tf.Tensor:
        logits = self.logits_parameter()
        seed = tfp.random.sanitize_seed(seed, salt="categorical")
        noise = gumbel(tf.concat([[n], tf.shape(logits)], axis=0), seed)
        return tf.argmax(logits + noise, axis=-1, output_type=self.dtype)


def gumbel(shape: Any, seed: tf.Tensor) -> tf.Tensor:
    """Draws standard Gumbel noise, `-log(-log u)`.

    Args:
        shape: Shape of the result.
        seed: `[2]` int32, a stateless seed.

    Returns:
        Finite float32 noise of that shape.
    """
    return -tf.math.log(-tf.math.log(random.uniform(shape, seed)))


class Family(ABC):
    """The distributions over one action space.

    "Raw" actions are what the distribution emits and what trajectories store;
    `to_environment` makes of them what the space takes. The log-probability is always
    that of the raw action.
    """

    def __init__(self, action_space: gym.Space[Any]) -> None:
        self.action_space = action_space

    @property
    @abstractmethod
    def parameters_shape(self) -> tuple[int, ...]:
        """Shape `(P,)` of the parameters of one distribution."""

    @property
    @abstractmethod
    def action_shape(self) -> tuple[int, ...]:
        """Shape of one raw action."""

    @property
    @abstractmethod
    def action_dtype(self) -> tf.DType:
        """Data type of raw actions."""

    @abstractmethod
    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """Splits `[..., P]` into the distribution's own parameters, by TFP's names."""

    @abstractmethod
    def distribution(self, parameters: tf.Tensor) -> tfp.distributions.Distribution:
        """Returns the TFP distribution; one event is one action."""

    @abstractmethod
    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Draws one raw action for each row, given a stateless `[2]` int32 seed."""

    @abstractmethod
    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """Returns the most likely raw action of each row."""

    @abstractmethod
    def log_prob(self, parameters: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """Returns `[...]` log-probabilities of raw actions, in nats."""

    @abstractmethod
    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        """Returns `[...]` entropies, in nats."""

    @abstractmethod
    def to_environment(self, actions: tf.Tensor) -> tf.Tensor:
        """Turns raw actions into members of the action space."""


class CategoricalFamily(Family):
    """One categorical distribution for a `Discrete` space; parameters are logits."""

    action_space: gym.spaces.Discrete

    @property
    def parameters_shape(self) -> tuple[int, ...]:
        """See `Family.parameters_shape`."""
        return (int(self.action_space.n),)

    @property
    def action_shape(self) -> tuple[int, ...]:
        """See `Family.action_shape`."""
        return ()

    @property
    def action_dtype(self) -> tf.DType:
        """See `Family.action_dtype`."""
        return tf.int32

    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """See `Family.named_parameters`: `logits` `[..., n]`."""
        return {"logits": parameters}

    def distribution(self, parameters: tf.Tensor) -> tfp.distributions.Distribution:
        """See `Family.distribution`."""
        return CategoricalByArgmax(logits=parameters, dtype=tf.int32)

    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """See `Family.sample`."""
        noise = gumbel(tf.shape(parameters), seed)
        return tf.argmax(parameters + noise, axis=-1, output_type=tf.int32)

    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """See `Family.mode`; of equally likely actions, the first."""
        return tf.argmax(parameters, axis=-1, output_type=tf.int32)

    def log_prob(self, parameters: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """See `Family.log_prob`."""
        return -tf.nn.sparse_softmax_cross_entropy_with_logits(actions, parameters)

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        """See `Family.entropy`: `−Σ p log p`, with `0 log 0 = 0`."""
        log_probs = tf.nn.log_softmax(parameters)
        probs = tf.exp(log_probs)
        return -tf.reduce_sum(tf.math.multiply_no_nan(log_probs, probs), axis=-1)

    def to_environment(self, actions: tf.Tensor) -> tf.Tensor:
        """See `Family.to_environment`: adds the space's `start`."""
        start = int(self.action_space.start)
        return tf.cast(actions, self.action_space.dtype) + start


class NormalFamily(Family):
    """Independent normal distributions for a `Box` space.

    Parameters are the means followed by the logarithms of the standard deviations.
    Samples are not bounded; `to_environment` clips them to the space, while
    trajectories keep what was drawn, because that is what has the stated density.

    Reference: Schulman et al. (2017), https://arxiv.org/abs/1707.06347, section 6.1.
    """

    action_space: gym.spaces.Box

    @property
    def _size(self) -> int:
        return math.prod(self.action_shape)

    @property
    def parameters_shape(self) -> tuple[int, ...]:
        """See `Family.parameters_shape`: `(2 * size,)`."""
        return (2 * self._size,)

    @property
    def action_shape(self) -> tuple[int, ...]:
        """See `Family.action_shape`."""
        return self.action_space.shape

    @property
    def action_dtype(self) -> tf.DType:
        """See `Family.action_dtype`."""
        return tf.float32

    def _split(self, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns means and log standard deviations, both `[..., *action_shape]`."""
        shape = tf.concat([tf.shape(parameters)[:-1], self.action_shape], axis=0)
        static = [*parameters.shape[:-1], *self.action_shape]
        halves = tf.split(parameters, 2, axis=-1)
        loc, log_scale = (tf.ensure_shape(tf.reshape(h, shape), static) for h in halves)
        return loc, log_scale

    @property
    def _event_axes(self) -> list[int]:
        return list(range(-len(self.action_shape), 0))

    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """See `Family.named_parameters`: `loc` and `scale`, `[..., *action_shape]`."""
        loc, log_scale = self._split(parameters)
        return {"loc": loc, "scale": tf.exp(log_scale)}

    def distribution(self, parameters: tf.Tensor) -> tfp.distributions.Distribution:
        """See `Family.distribution`."""
        normal = tfp.distributions.Normal(**self.named_parameters(parameters))
        return tfp.distributions.Independent(normal, len(self.action_shape))

    def sample(self, parameters: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """See `Family.sample`."""
        loc, log_scale = self._split(parameters)
        noise = random.normal(tf.shape(loc), seed)
        return loc + tf.exp(log_scale) * noise

    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """See `Family.mode`."""
        return self._split(parameters)[0]

    def log_prob(self, parameters: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """See `Family.log_prob`; independent dimensions are summed."""
        loc, log_scale = self._split(parameters)
        scores = (actions - loc) * tf.exp(-log_scale)
        densities = -0.5 * tf.square(scores) - log_scale - _HALF_LOG_TWO_PI
        return tf.reduce_sum(densities, self._event_axes)

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        """See `Family.entropy`: `Σ (log σ + ½ log 2πe)`."""
        _, log_scale = self._split(parameters)
        return tf.reduce_sum(log_scale + _HALF_LOG_TWO_PI + 0.5, self._event_axes)

    def to_environment(self, actions: tf.Tensor) -> tf.Tensor:
        """See `Family.to_environment`: clips to the bounds of the space."""
        space = self.action_space
        clipped = tf.clip_by_value(
            actions, space.low.astype("float32"), space.high.astype("float32")
        )
        return tf.cast(clipped, space.dtype)


def for_space(action_space: gym.Space[Any]) -> Family:
    """Returns the family of distributions over an action space.

    Args:
        action_space: A Gymnasium `Discrete`, or a `Box` of floating-point numbers.

    Raises:
        ValueError: If there is no family for the space.
    """
    if isinstance(action_space, gym.spaces.Discrete):
        return CategoricalFamily(action_space)
    if isinstance(action_space, gym.spaces.Box):
        if action_space.dtype is not None and action_space.dtype.kind == "f":
            return NormalFamily(action_space)
    raise ValueError(
        "The action space must be a Discrete or a Box of floating-point numbers; give "
        "the space of one environment (`single_action_space` of a vector environment), "
        f"or wrap the environment. Received: {action_space!r}"
    )
