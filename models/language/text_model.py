"""What a language policy and its critic have in common: both read a text."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import gymnasium as gym
import keras
import tensorflow as tf

from kpg.models.language.text_trunk import State, TextTrunk


class TextModel(keras.Model):
    """A recurrent model whose observations are tokens and whose state is the text.

    At each step it is given one more token, and its outputs are about the text up to
    that token. A fragment `[T, B]` is one forward pass. Abstract: `LanguagePolicy` and
    `LanguageCritic` say what the outputs are.

    Args:
        trunk: What reads the text.

    Attributes:
        trunk: The same.
        observation_space: `Discrete(V)`, the tokens.
        recurrent: Always `True`.
        normalizers: None: nothing standardises tokens.
    """

    recurrent = True

    def __init__(self, trunk: TextTrunk, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trunk = trunk
        self.observation_space = gym.spaces.Discrete(trunk.vocabulary_size)
        self.built = True

    @abstractmethod
    def outputs(self, features: tf.Tensor, observations: Any = None) -> tf.Tensor:
        """Returns what the model says of `[..., F]` features of its trunk."""

    @property
    def normalizers(self) -> list[Any]:
        """See `kpg.models.Policy`."""
        return []

    @property
    def state_spec(self) -> tuple[tf.TensorSpec, ...]:
        """Spec of one state, which is that of the trunk."""
        return self.trunk.state_spec

    def initial_state(self, batch_size: int | tf.Tensor) -> State:
        """Returns the state before any token."""
        return self.trunk.initial_state(batch_size)

    def call(self, observations: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the outputs for `[B]` tokens, each the first of its text."""
        state = self.initial_state(keras.ops.shape(observations)[0])
        return self.step(observations, state)[0]

    def step(
        self, observations: tf.Tensor, state: State, training: bool = False
    ) -> tuple[tf.Tensor, State]:
        """Reads one more token `[B]`; returns the outputs and the new state.

        The whole text is read again: `decoding.sampling` writes texts with a
        cache.
        """
        features, states = self.trunk.unroll(observations[tf.newaxis], state)
        return self.outputs(features[0]), tuple(part[0] for part in states)

    def unroll(
        self,
        observations: tf.Tensor,
        state: State,
        resets: tf.Tensor,
        training: bool = False,
    ) -> tuple[tf.Tensor, State]:
        """Reads T tokens in one forward pass.

        Args:
            observations: `[T, B]` integers.
            state: The text before the first row.
            resets: Not read: a fragment holds one text, and what follows its end counts
                nowhere.
            training: Not read: dropout is always off.

        Returns:
            The outputs `[T, B, ...]`, and the states after each row.
        """
        features, states = self.trunk.unroll(observations, state)
        return self.outputs(features), states

    def unroll_with(
        self,
        critic: TextModel,
        observations: tf.Tensor,
        state: State,
        resets: tf.Tensor,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the outputs of `unroll` and a critic's, which has the same trunk."""
        features, _ = self.trunk.unroll(observations, state)
        return self.outputs(features), critic.outputs(features)
