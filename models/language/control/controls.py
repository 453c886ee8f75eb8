"""Ways in which a policy steers an executor: token, biases or instructions."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg import checks, contracts
from kpg.models.language.control.lexicon import Lexicon
from kpg.models.language.control.word_classes import Row
from kpg.types import Nest, Space, Tensor
from kpg.values import Value

_STOP, _SHARPEN, _FIRST_BOOST = 1, 2, 3


class Control(Value, ABC):
    """A way to steer an executor, for `kpg.environments.ControlledGeneration`.

    Derive a frozen dataclass from it to bring your own; `space` and `bent` are enough.

    Attributes:
        executor_chooses: Whether the executor ever chooses a token itself.
        word_classes: Lists of words by name, which `bent` can raise; none by default.
        phrases: What `phrase` can insert; nothing by default.
        deterministic: Whether the executor takes its likeliest tokens; not by default.
    """

    executor_chooses: ClassVar[bool] = True
    word_classes: Mapping[str, Sequence[str]] = {}
    phrases: Sequence[str] = ()
    deterministic: bool = False

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        contracts.check_names(cls, Control)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the actions; empty unless a derived class has some."""
        return ()

    @abstractmethod
    def space(self, lexicon: Lexicon) -> Space:
        """Returns the space of one action."""

    @abstractmethod
    def bent(self, parameters: Tensor, actions: Tensor, continuing: Tensor) -> Tensor:
        """Builds graph: `[B, V]` float32 logits that the executor has to choose from.

        Args:
            parameters: `[B, V]` float32, logits of the executor's own distributions.
            actions: `[B, ...]` members of the space.
            continuing: `[B, C, V]` float32: 1 where a token continues a class's word.
        """

    def forced(self, actions: Tensor, lexicon: Lexicon) -> Tensor:
        """Builds graph: `[B]` int32, tokens that nobody chooses, of a phrase its first.

        −1, the default, leaves the choice to the executor.
        """
        return -tf.ones(actions.shape[:1], tf.int32)

    def phrase(self, action: Nest, lexicon: Lexicon) -> Row | None:
        """Returns the tokens of the phrase an action inserts; `None` by default."""
        return None


@keras.saving.register_keras_serializable("kpg")
@dataclasses.dataclass(frozen=True)
class NextToken(Control):
    """The policy chooses each token, `Discrete(V)`; the executor reads along."""

    executor_chooses = False

    @override
    def space(self, lexicon: Lexicon) -> Space:
        return gym.spaces.Discrete(lexicon.vocabulary_size)

    @override
    def bent(self, parameters: Tensor, actions: Tensor, continuing: Tensor) -> Tensor:
        return parameters

    @override
    def forced(self, actions: Tensor, lexicon: Lexicon) -> Tensor:
        return tf.cast(actions, tf.int32)


@keras.saving.register_keras_serializable("kpg")
@dataclasses.dataclass(frozen=True)
class Biases(Control):
    """The policy adds to the executor's logits, `Box(-1, 1)`.

    An action is a number for each word class, or for each token if there are none.

    Args:
        word_classes: See `Instructions`.
        strength: What a bias of 1 adds to logits, > 0, in nats. Defaults to 5.
        deterministic: See `Instructions`.

    Raises:
        ValueError: If an argument is out of range.
    """

    word_classes: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    strength: float = 5.0
    deterministic: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "word_classes", _classes(self.word_classes))
        checks.positive("strength", self.strength)

    @override
    def space(self, lexicon: Lexicon) -> Space:
        size = len(self.word_classes) or lexicon.vocabulary_size
        return gym.spaces.Box(-1.0, 1.0, (size,), np.float32)

    @override
    def bent(self, parameters: Tensor, actions: Tensor, continuing: Tensor) -> Tensor:
        biases = tf.cast(actions, tf.float32)
        if self.word_classes:
            biases = tf.einsum("bc,bcv->bv", biases, continuing)
        return parameters + self.strength * biases


@keras.saving.register_keras_serializable("kpg")
@dataclasses.dataclass(frozen=True)
class Instructions(Control):
    """The policy gives one of a few instructions, `Discrete`.

    In this order: "continue"; "stop", which writes the end token; "sharpen", which
    multiplies the logits by `sharpness`; "boost" for each word class, which adds
    `strength` to the logits; and "insert" for each phrase, which writes all of it.

    Args:
        word_classes: For each name a list of words, written as in a text: with a space
            in front where the tokenizer makes it part of a word. Defaults to none.
        phrases: What can be inserted. Defaults to nothing.
        strength: What a boost adds to logits, > 0, in nats. Defaults to 5.
        sharpness: What sharpening multiplies logits by, > 1. Defaults to 4.
        deterministic: Whether the executor takes its likeliest tokens in place of
            samples. Defaults to `False`.

    Raises:
        ValueError: If an argument is out of range.
    """

    word_classes: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    phrases: Sequence[str] = ()
    strength: float = 5.0
    sharpness: float = 4.0
    deterministic: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "word_classes", _classes(self.word_classes))
        object.__setattr__(self, "phrases", _texts("phrases", self.phrases))
        checks.positive("strength", self.strength)
        if not self.word_classes and self.strength != type(self).strength:
            checks.refuse("strength", "needs `word_classes` to boost", self.strength)
        if checks.number("sharpness", self.sharpness, 1.0) == 1.0:
            checks.refuse("sharpness", "must be greater than 1", self.sharpness)

    @property
    @override
    def names(self) -> tuple[str, ...]:
        boosts = [f"boost {name}" for name in self.word_classes]
        inserts = [f"insert {phrase!r}" for phrase in self.phrases]
        return ("continue", "stop", "sharpen", *boosts, *inserts)

    @override
    def space(self, lexicon: Lexicon) -> Space:
        return gym.spaces.Discrete(len(self.names))

    @override
    def bent(self, parameters: Tensor, actions: Tensor, continuing: Tensor) -> Tensor:
        actions = tf.cast(actions, tf.int32)
        sharpened = (actions == _SHARPEN)[:, tf.newaxis]
        parameters = tf.where(sharpened, self.sharpness * parameters, parameters)
        if self.word_classes:
            boosted = tf.one_hot(actions - _FIRST_BOOST, len(self.word_classes))
            raised = tf.einsum("bc,bcv->bv", boosted, continuing)
            parameters += self.strength * raised
        return parameters

    @override
    def forced(self, actions: Tensor, lexicon: Lexicon) -> Tensor:
        forced = np.full(len(self.names), -1, np.int32)
        forced[_STOP] = lexicon.end
        for action, row in enumerate(lexicon.phrases, start=self._first_insert):
            forced[action] = row[0]
        return tf.gather(forced, tf.cast(actions, tf.int32))

    @override
    def phrase(self, action: Nest, lexicon: Lexicon) -> Row | None:
        index = int(action) - self._first_insert
        return lexicon.phrases[index] if index >= 0 else None

    @property
    def _first_insert(self) -> int:
        return _FIRST_BOOST + len(self.word_classes)


CONTROLS: dict[str, type[Control]] = {
    "token": NextToken,
    "bias": Biases,
    "instructions": Instructions,
}


def _classes(value: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Returns a copy of word classes, refusing one without a word."""
    for name, words in value.items():
        if isinstance(words, str) or not words:
            raise ValueError(
                "`word_classes` must give each name a list of at least one word. "
                f"Received: {name!r}: {words!r}"
            )
    return {k: _texts(f"word_classes[{k!r}]", words) for k, words in value.items()}


def _texts(name: str, value: Sequence[str]) -> tuple[str, ...]:
    """Returns a copy of a list of strings, refusing empty ones."""
    if isinstance(value, str):
        checks.refuse(name, "must be a list", value)
    for text in value:
        if not isinstance(text, str) or not text:
            raise ValueError(
                f"`{name}` must hold strings that are not empty. Received: {text!r}"
            )
    return tuple(value)
