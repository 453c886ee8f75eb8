"""What a language policy and its critic have in common: both read a text."""

from __future__ import annotations

from abc import abstractmethod

import gymnasium as gym
import keras
import tensorflow as tf

from kpg import contracts
from kpg.models.language.text_trunk import State, TextTrunk
from kpg.models.tracked_model import TrackedModel
from kpg.types import Tensor


class TextModel(TrackedModel):
    """A recurrent model that observes tokens; its state is the text.

    Each step reads one more token, and the outputs are about the text up to that token.
    Its `observation_space` is `Discrete(V)`, the tokens.
    """

    recurrent = True

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        contracts.check_names(cls, TextModel)

    def __init__(self, trunk: TextTrunk, **kwargs: object) -> None:
        contracts.check_complete(type(self))
        super().__init__(**kwargs)
        self.trunk = trunk
        self.observation_space = gym.spaces.Discrete(trunk.vocabulary_size)
        self.built = True

    @abstractmethod
    def outputs(self, features: Tensor, observations: Tensor | None = None) -> Tensor:
        """Returns the model's outputs for `[..., F]` features of its trunk."""

    def told(self, features: Tensor, states: State) -> Tensor:
        """Returns the outputs for features `[T, B, F]` that the trunk's `unroll` gave.

        The states `[T, B, ...]` are those after each token, as `unroll` gave them.
        """
        return self.outputs(features)

    @property
    def normalizers(self) -> list[object]:
        """None: nothing standardises tokens."""
        return []

    @property
    def state_spec(self) -> tuple[tf.TensorSpec, ...]:
        """Spec of one state."""
        return self.trunk.state_spec

    def initial_state(self, batch_size: int | Tensor) -> State:
        """Returns the state before any token."""
        return self.trunk.initial_state(batch_size)

    def call(self, observations: Tensor, training: bool = False) -> Tensor:
        """Returns the outputs for `[B]` tokens, each the first of its text."""
        state = self.initial_state(keras.ops.shape(observations)[0])
        return self.step(observations, state)[0]

    def step(
        self, observations: Tensor, state: State, training: bool = False
    ) -> tuple[Tensor, State]:
        """Reads one more token `[B]`; returns the outputs and the new state.

        It reads the whole text again; `decoding.sampling` writes texts with a cache.
        """
        features, states = self.trunk.unroll(observations[tf.newaxis], state)
        return self.told(features, states)[0], tuple(part[0] for part in states)

    def unroll(
        self, observations: Tensor, state: State, resets: Tensor, training: bool = False
    ) -> tuple[Tensor, State]:
        """Returns the outputs `[T, B, ...]` for `[T, B]` tokens, and the states.

        `resets` is ignored: a fragment holds one text, and what follows its end does
        not count. So is `training`: dropout is always off.
        """
        features, states = self.trunk.unroll(observations, state)
        return self.told(features, states), states

    def unroll_with(
        self,
        critic: TextModel,
        observations: Tensor,
        state: State,
        resets: Tensor,
        training: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Returns the outputs of `unroll`, and those of a critic on the same trunk."""
        features, states = self.trunk.unroll(observations, state)
        return self.told(features, states), critic.outputs(features)
