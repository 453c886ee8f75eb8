"""What another model says of a completion: a reward model, or a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from typing_extensions import override

from kpg import checks
from kpg.language.rewards.reward import Column, Reward, Score
from kpg.types import Array, Config

if TYPE_CHECKING:
    import keras

    from kpg.language.tokenizers.tokenizer import Tokenizer


class Judge(Protocol):
    """What reads texts with a tokenizer of its own: `kpg.models.RewardModel`."""

    def judge(self, prompts: Sequence[str], completions: Sequence[str]) -> Array:
        """Returns a score for each of B completions, `[B]`."""
        ...


class Judgement(Reward):
    """The score of a model for (prompt, completion), asked in batches.

    The model is given texts, and reads them with its own tokenizer, whatever that of
    the policy is. It is one of these:

    - a `kpg.models.RewardModel`, or anything with `judge(prompts, completions)`;
    - a classifier of KerasHub with its preprocessor, which gets pairs of segments;
    - a Keras model of strings, with one input for both texts or two, or, with a
      `tokenizer`, of tokens `[B, max_tokens]`, padded with 0, prompt first.

    Args:
        model: The model; neither it nor the tokenizer is part of the configuration.
        label: Which of its outputs counts, from 0 on. Defaults to `None`: its only one.
        probability: Whether logits become probabilities, by softmax over the outputs
            or, of a single one, by the logistic function. Defaults to `False`.
        tokenizer: Of a model that reads tokens. Defaults to `None`.
        max_tokens: What such a model is given, ≥ 1; of longer texts, the end.
        batch_size: Completions at a time, ≥ 1; the last batch is filled up, so that
            the model is compiled once. Defaults to 32.

    Raises:
        ValueError: If the model is none of these or reads tokens and no tokenizer says
            which, the tokenizer has tokens that it does not know, or, when called,
            there are several outputs and no label, or an output is not finite.
    """

    def __init__(
        self,
        model: Judge | keras.Model,
        label: int | None = None,
        probability: bool = False,
        tokenizer: Tokenizer | None = None,
        max_tokens: int | None = None,
        batch_size: int = 32,
        name: str = "judgement",
    ) -> None:
        super().__init__(name)
        self.model: Any = model
        self.label = None if label is None else checks.whole_number("label", label, 0)
        self.probability = checks.flag("probability", probability)
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.batch_size = checks.whole_number("batch_size", batch_size)
        self._codec: Any = None  # made late, since it takes TensorFlow
        self._check()

    def _check(self) -> None:
        """Refuses a model that cannot be asked with these options."""
        given = self.tokenizer is not None
        if given != (self.max_tokens is not None):
            wanted = "belongs to a `tokenizer`; give both or neither"
            checks.refuse("max_tokens", wanted, self.max_tokens)
        if self.max_tokens is not None:
            checks.whole_number("max_tokens", self.max_tokens)
        own = self._judges or self._preprocessor is not None
        if not own and not callable(getattr(self.model, "predict_on_batch", None)):
            wanted = "must be a Keras model or have `judge(prompts, completions)`"
            checks.refuse("model", wanted, self.model)
        if own and given:
            wanted = "must be None for a model with a tokenizer of its own"
            checks.refuse("tokenizer", wanted, self.tokenizer)
        if own or not self.model.inputs:
            return
        strings = all(part.dtype == "string" for part in self.model.inputs)
        if strings == given:
            raise ValueError(
                "A model that reads tokens needs the `tokenizer` that it was trained "
                "with, and one that reads strings takes none. Received: inputs of "
                f"{self.model.inputs[0].dtype}, tokenizer={self.tokenizer!r}"
            )

    @property
    def _judges(self) -> bool:
        return callable(getattr(self.model, "judge", None))

    @property
    def _preprocessor(self) -> Any:
        return getattr(self.model, "preprocessor", None)

    @override
    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Column
    ) -> list[Score]:
        size, found = self.batch_size, list[float]()
        for first in range(0, len(completions), size):
            parts = [
                list(rows[first : first + size]) for rows in (prompts, completions)
            ]
            count = len(parts[0])
            filled = [part + part[-1:] * (size - count) for part in parts]
            found += self._scores(*filled)[:count].tolist()
        return list(found)

    def _scores(self, prompts: list[str], completions: list[str]) -> Array:
        """Returns the scores `[B]` of a batch."""
        if self._judges:
            outputs = np.asarray(self.model.judge(prompts, completions), np.float64)
        else:
            outputs = self._predicted(self._inputs(prompts, completions))
        outputs = outputs.reshape(len(prompts), -1)
        several = outputs.shape[1]
        if (self.label is None and several > 1) or (self.label or 0) >= several:
            wanted = (
                f"must say which of the model's {several} outputs counts, from 0 on"
            )
            checks.refuse("label", wanted, self.label)
        if self.probability:
            outputs = _probabilities(outputs)
        scores: Array = outputs[:, self.label or 0]
        return scores

    def _predicted(self, inputs: Any) -> Array:
        """Returns the outputs of a Keras model."""
        import keras

        # A model of KerasHub would preprocess a pair as a text and its label.
        found = keras.Model.predict_on_batch(self.model, inputs)
        return np.asarray(found, np.float64)

    def _inputs(self, prompts: list[str], completions: list[str]) -> Any:
        """Returns what a Keras model is given."""
        import tensorflow as tf

        from kpg.language.tokenizers.codec import Codec

        if self.tokenizer is None or self.max_tokens is None:
            pair = tf.constant(prompts), tf.constant(completions)
            if self._preprocessor is not None:
                return self._preprocessor(x=pair)
            return pair if len(self.model.inputs) == 2 else tf.strings.join(pair)
        codec = self._codec = self._codec or Codec(self.tokenizer)
        table = np.zeros([len(prompts), self.max_tokens], np.int32)
        pairs = zip(codec.encode(prompts), codec.encode(completions), strict=True)
        for line, pair in zip(table, pairs, strict=True):
            tokens = np.concatenate(pair)[-self.max_tokens :]
            line[: len(tokens)] = tokens
        return table

    @override
    def get_config(self) -> Config:
        """Returns the arguments without model and tokenizer."""
        left_out = ("model", "tokenizer")
        return {k: v for k, v in super().get_config().items() if k not in left_out}


def _probabilities(logits: Array) -> Array:
    """Returns the softmax of `[B, C]`; of a single output the logistic function."""
    if logits.shape[1] == 1:
        return np.asarray(1.0 / (1.0 + np.exp(-logits)))
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exps / exps.sum(axis=1, keepdims=True))
