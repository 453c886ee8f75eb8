"""The policy: observation to distribution over actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import keras
import tensorflow as tf
import tensorflow_probability as tfp

from kpg import spaces
from kpg.distributions import NormalFamily, for_space
from kpg.models.observation_model import ObservationModel


@keras.saving.register_keras_serializable(package="kpg")
class Policy(ObservationModel):
    """A Keras model whose output parameterises a distribution over actions.

    Observations are standardised (the identity until a trainer with
    `normalize_observations=True` has run), go through a backbone, and a dense head of
    orthogonal weights with gain 0.01 makes the parameters, so that a new policy is
    nearly uniform. For a `Box` the head gives the means, and the standard deviations
    are weights that do not depend on the observation, 1 at first.

    Example:
        policy = kpg.models.Policy(env.observation_space, env.action_space)
        actions, log_probs = policy.sample(observations, seed=[0, 1])

    Args:
        observation_space: Gymnasium `Box`, the space of one environment.
        action_space: Gymnasium `Discrete`, or `Box` of floating-point numbers.
        backbone: Any Keras layer or model from `[B, ...]` to `[B, features]`. Defaults
            to `kpg.models.mlp(hidden_units, activation)`.
        hidden_units: Widths of the default backbone. Defaults to `(64, 64)`.
        activation: Activation of the default backbone. Defaults to `"tanh"`.
        seed: Seed of the initial weights. Defaults to a random one.

    Raises:
        ValueError: If a space is not supported, or the backbone's output is not
            `[B, features]`.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        backbone: keras.layers.Layer | None = None,
        hidden_units: Sequence[int] = (64, 64),
        activation: str = "tanh",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        family = for_space(action_space)
        normal = isinstance(family, NormalFamily)
        units = family.parameters_shape[0] // (2 if normal else 1)
        super().__init__(
            observation_space,
            backbone=backbone,
            hidden_units=hidden_units,
            activation=activation,
            seed=seed,
            units=units,
            gain=0.01,
            **kwargs,
        )
        self.action_space = action_space
        self.family = family
        self._own_config["action_space"] = spaces.to_config(action_space)
        self.log_std = (
            self.add_weight(name="log_std", shape=(units,), initializer="zeros")
            if normal
            else None
        )
        self.build((None, *self.observation_space.shape))

    def call(self, observations: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns `[B, P]` float32 parameters for `[B, ...]` observations."""
        parameters = self.head_outputs(observations, training)
        if self.log_std is None:
            return parameters
        log_std = keras.ops.broadcast_to(self.log_std, keras.ops.shape(parameters))
        return keras.ops.concatenate([parameters, log_std], axis=-1)

    def distribution(self, observations: tf.Tensor) -> tfp.distributions.Distribution:
        """Returns a TFP distribution of batch shape `[B]`; one event is one action."""
        return self.family.distribution(self(observations))

    def sample(
        self, observations: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws actions.

        Args:
            observations: `[B, ...]`.
            seed: `[2]` int32, a stateless seed: equal seeds give equal actions.

        Returns:
            Raw actions `[B, ...]` and their log-probabilities `[B]`, in nats.
        """
        parameters = self(observations)
        actions = self.family.sample(parameters, seed)
        return actions, self.family.log_prob(parameters, actions)

    def mode(self, observations: tf.Tensor) -> tf.Tensor:
        """Returns the most likely raw action `[B, ...]` for each observation."""
        return self.family.mode(self(observations))

    def log_prob(self, observations: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """Returns `[B]` log-probabilities of raw actions, in nats."""
        return self.family.log_prob(self(observations), actions)

    def entropy(self, observations: tf.Tensor) -> tf.Tensor:
        """Returns `[B]` entropies, in nats."""
        return self.family.entropy(self(observations))
