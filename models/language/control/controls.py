"""What a policy can tell an executor: tokens, biases, or instructions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import tensorflow as tf

from kpg.models.language.control.word_classes import Row, WordClasses
from kpg.models.language.decoding.rowwise import Executor

CONTROLS = ("token", "bias", "instructions")
STRENGTH, SHARPNESS = 5.0, 4.0
_CONTINUE, _STOP, _SHARPEN = range(3)


class Control(ABC):
    """A language in which a policy speaks to an executor.

    Args:
        executor: What is spoken to.
        classes: The word classes that may be spoken of.
        deterministic: Whether the executor takes the most likely token.

    Attributes:
        space: Of one action.
        phrases: Tokens of what can be inserted.
        asks: Whether the executor ever chooses a token itself.
    """

    space: gym.Space[Any]
    asks = True
    phrases: Sequence[Row] = ()

    def __init__(
        self, executor: Executor, classes: WordClasses, deterministic: bool
    ) -> None:
        self.executor = executor
        self.classes = classes
        self.deterministic = deterministic

    @abstractmethod
    def bent(
        self, parameters: tf.Tensor, actions: tf.Tensor, states: tf.Tensor
    ) -> tf.Tensor:
        """Builds graph: the distributions that the executor is made to choose from.

        Args:
            parameters: `[B, V]` float32, those of the executor's own distribution.
            actions: `[B, ...]` members of `space`.
            states: `[B]` int32, of `classes`, after the texts so far.

        Returns:
            `[B, V]` float32.
        """

    @abstractmethod
    def forced(self, actions: tf.Tensor) -> tf.Tensor:
        """Returns `[B]` int32: tokens that the executor is not asked about, or −1."""

    def tokens(
        self, parameters: tf.Tensor, actions: tf.Tensor, states: tf.Tensor, seed: Any
    ) -> tf.Tensor:
        """Builds graph that chooses the next token of each text.

        Args:
            parameters: See `bent`.
            actions: See `bent`.
            states: See `bent`.
            seed: `[2]` int32, a stateless seed.

        Returns:
            `[B]` int32.
        """
        forced = self.forced(actions)
        if not self.asks:
            return forced
        chosen = self._chosen(self.bent(parameters, actions, states), seed)
        return tf.where(forced >= 0, forced, chosen)

    def phrase(self, action: Any) -> Row | None:
        """Returns the tokens that an action writes as they are, if it does."""
        return None

    def _chosen(self, parameters: tf.Tensor, seed: Any) -> tf.Tensor:
        family = self.executor.family
        if self.deterministic:
            return tf.cast(family.mode(parameters), tf.int32)
        return tf.cast(family.sample(parameters, seed), tf.int32)

    def _continuing(self, states: tf.Tensor) -> tf.Tensor:
        """Returns `[B, C, V]` float32: 1 where a token goes on with a class."""
        return tf.cast(tf.gather(self.classes.continuing, states), tf.float32)


class TokenControl(Control):
    """The policy writes, and the executor reads along."""

    asks = False

    def __init__(self, executor: Executor) -> None:
        size = executor.trunk.vocabulary_size
        super().__init__(executor, WordClasses({}, size), False)
        self.space = gym.spaces.Discrete(size)

    def bent(
        self, parameters: tf.Tensor, actions: tf.Tensor, states: tf.Tensor
    ) -> tf.Tensor:
        """See `Control.bent`; nobody chooses from them."""
        return parameters

    def forced(self, actions: tf.Tensor) -> tf.Tensor:
        """See `Control.forced`."""
        return tf.cast(actions, tf.int32)


class BiasControl(Control):
    """The policy adds to the executor's logits.

    Args:
        executor: See `Control`.
        classes: What gets a number each; without any class, every token gets one.
        deterministic: See `Control`.
        strength: What 1 adds, in nats.
    """

    def __init__(
        self,
        executor: Executor,
        classes: WordClasses,
        deterministic: bool,
        strength: float,
    ) -> None:
        super().__init__(executor, classes, deterministic)
        size = len(classes.names) or executor.trunk.vocabulary_size
        self.space = gym.spaces.Box(-1.0, 1.0, (size,), np.float32)
        self.strength = strength

    def bent(
        self, parameters: tf.Tensor, actions: tf.Tensor, states: tf.Tensor
    ) -> tf.Tensor:
        """See `Control.bent`."""
        biases = tf.cast(actions, tf.float32)
        if self.classes.names:
            biases = tf.einsum("bc,bcv->bv", biases, self._continuing(states))
        return parameters + self.strength * biases

    def forced(self, actions: tf.Tensor) -> tf.Tensor:
        """See `Control.forced`: none."""
        return -tf.ones(actions.shape[:1], tf.int32)


class InstructionControl(Control):
    """The policy gives one of a few instructions.

    Args:
        executor: See `Control`.
        classes: What can be boosted.
        deterministic: See `Control`.
        strength: What a boost adds to logits, in nats.
        sharpness: What sharpening multiplies logits by.
        phrases: Tokens of what can be inserted, by name.

    Attributes:
        names: The instructions in the order of the actions.
    """

    def __init__(
        self,
        executor: Executor,
        classes: WordClasses,
        deterministic: bool,
        strength: float,
        sharpness: float,
        phrases: Mapping[str, Row],
    ) -> None:
        super().__init__(executor, classes, deterministic)
        self.strength = strength
        self.sharpness = sharpness
        self.phrases = list(phrases.values())
        boosts = [f"boost {name}" for name in classes.names]
        inserts = [f"insert {phrase!r}" for phrase in phrases]
        self.names = ("continue", "stop", "sharpen", *boosts, *inserts)
        self.space = gym.spaces.Discrete(len(self.names))
        self._inserts = len(self.names) - len(self.phrases)

    def bent(
        self, parameters: tf.Tensor, actions: tf.Tensor, states: tf.Tensor
    ) -> tf.Tensor:
        """See `Control.bent`."""
        actions = tf.cast(actions, tf.int32)
        sharpened = (actions == _SHARPEN)[:, tf.newaxis]
        parameters = tf.where(sharpened, self.sharpness * parameters, parameters)
        if self.classes.names:
            boosted = tf.one_hot(actions - _SHARPEN - 1, len(self.classes.names))
            parameters += self.strength * tf.einsum(
                "bc,bcv->bv", boosted, self._continuing(states)
            )
        return parameters

    def forced(self, actions: tf.Tensor) -> tf.Tensor:
        """See `Control.forced`; of a phrase it is the first."""
        forced = np.full(len(self.names), -1, np.int32)
        forced[_STOP] = self.executor.tokenizer.end_token_id
        for action, row in enumerate(self.phrases, start=self._inserts):
            forced[action] = row[0]
        return tf.gather(forced, tf.cast(actions, tf.int32))

    def phrase(self, action: Any) -> Row | None:
        """See `Control.phrase`."""
        index = int(action) - self._inserts
        return self.phrases[index] if index >= 0 else None


class Options(NamedTuple):
    """See `kpg.environments.ControlledGeneration` for the fields."""

    word_classes: Mapping[str, Sequence[str]]
    phrases: Sequence[str]
    strength: float
    sharpness: float
    deterministic: bool
    max_new_tokens: int


def make_control(executor: Executor, control: str, options: Options) -> Control:
    """Makes the control of a name.

    Raises:
        ValueError: If the name is unknown, an option is wrong, or it would have no
            effect.
    """
    if control not in CONTROLS:
        raise ValueError(
            f"`control` must be one of {', '.join(CONTROLS)}. Received: "
            f"control={control!r}"
        )
    _check_effects(control, options)
    if control == "token":
        return TokenControl(executor)
    classes = _classes(executor, options.word_classes)
    deterministic, strength = options.deterministic, options.strength
    if control == "bias":
        return BiasControl(executor, classes, deterministic, strength)
    phrases = _phrases(executor, options.phrases, options.max_new_tokens)
    return InstructionControl(
        executor, classes, deterministic, strength, options.sharpness, phrases
    )


def _check_effects(control: str, options: Options) -> None:
    """Refuses options that are out of range, or that a control has no use for."""
    for name, low in (("strength", 0.0), ("sharpness", 1.0)):
        number = getattr(options, name)
        if not low < number < math.inf:
            raise ValueError(
                f"`{name}` must be a finite number above {low:g}. Received: "
                f"{name}={number!r}"
            )
    used = {
        "word_classes": control != "token",
        "phrases": control == "instructions",
        "strength": control == "bias" or bool(options.word_classes),
        "sharpness": control == "instructions",
        "deterministic": control != "token",
    }
    none = Options({}, [], STRENGTH, SHARPNESS, False, options.max_new_tokens)
    for name, effective in used.items():
        value = getattr(options, name)
        if not effective and value and value != getattr(none, name):
            raise ValueError(
                f"`{name}` has no effect with control={control!r} and "
                f"{len(options.word_classes)} word classes; leave it out. Received: "
                f"{name}={value!r}"
            )


def _classes(
    executor: Executor, word_classes: Mapping[str, Sequence[str]]
) -> WordClasses:
    rows: dict[str, list[Row]] = {}
    for name, words in word_classes.items():
        if isinstance(words, str) or not words:
            raise ValueError(
                "`word_classes` must hold a list of one word or more for each name. "
                f"Received: {name!r}: {words!r}"
            )
        rows[name] = _rows(executor, words, f"word_classes[{name!r}]")
    return WordClasses(rows, executor.trunk.vocabulary_size)


def _phrases(executor: Executor, phrases: Sequence[str], limit: int) -> dict[str, Row]:
    if isinstance(phrases, str):
        raise ValueError(f"`phrases` must be a list. Received: {phrases!r}")
    rows = dict(zip(phrases, _rows(executor, phrases, "phrases"), strict=True))
    for phrase, row in rows.items():
        if len(row) > limit:
            raise ValueError(
                "A phrase must have at most `max_new_tokens`. Received: "
                f"max_new_tokens={limit}, and {len(row)} tokens of {phrase!r}"
            )
    return rows


def _rows(executor: Executor, texts: Sequence[str], name: str) -> list[Row]:
    """Returns the tokens of texts that the tokenizer gives back as they were."""
    for text in texts:
        if not isinstance(text, str) or not text:
            raise ValueError(
                f"`{name}` must hold strings that are not empty. Received: {text!r}"
            )
    rows: list[Row] = executor.codec.encode(texts)
    for text, row, back in zip(texts, rows, executor.codec.decode(rows), strict=True):
        # Some tokenizers put a space before every text, or take it away.
        same = back == text or (back.strip() == text.strip() != "")
        if not same or not len(row):
            raise ValueError(
                f"`{name}` must hold what the executor's tokenizer can make. Received: "
                f"{text!r}, of which it makes {back!r}"
            )
    return rows
