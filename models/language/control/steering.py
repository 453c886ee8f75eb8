"""A control in force: what it makes an executor write."""

from __future__ import annotations

import tensorflow as tf

from kpg.models.language.control.controls import Control
from kpg.models.language.control.lexicon import lexicon_for
from kpg.models.language.control.word_classes import Row
from kpg.models.language.language_policy import LanguagePolicy
from kpg.types import Array, Tensor


class Steering:
    """Applies a control to an executor; `space` is that of one action."""

    def __init__(
        self, control: Control, executor: LanguagePolicy, max_new_tokens: int
    ) -> None:
        if not isinstance(executor, LanguagePolicy):
            raise ValueError(
                "An executor must be a language model with its tokenizer: "
                "`kpg.models.CausalLMPolicy(causal_lm, tokenizer)`, or a "
                f"`Seq2SeqLMPolicy`. Received: {type(executor).__name__}"
            )
        if not executor.writing.plain:
            raise ValueError(
                "A controlled text ends with the tokenizer's end token alone, and its "
                "executor chooses without looking back: make the executor without "
                "`stop`, `end_tokens` and `repetition_penalty`. Received: "
                f"{executor.writing}"
            )
        self.control = control
        self.executor = executor
        self.lexicon = lexicon_for(
            executor, control.word_classes, control.phrases, max_new_tokens
        )
        self.space = control.space(self.lexicon)

    def bent(self, parameters: Tensor, actions: Tensor, states: Tensor) -> Tensor:
        """Builds graph: see `Control.bent`; word classes' states are `[B]` int32."""
        continuing = tf.gather(self.lexicon.classes.continuing, states)
        return self.control.bent(parameters, actions, tf.cast(continuing, tf.float32))

    def forced(self, actions: Tensor) -> Tensor:
        """Builds graph: see `Control.forced`."""
        return self.control.forced(actions, self.lexicon)

    def tokens(
        self, parameters: Tensor, actions: Tensor, states: Tensor, seed: Tensor
    ) -> Tensor:
        """Builds graph: `[B]` int32, the next token of each text.

        `seed`, `[2]` int32, is stateless; the other arguments are those of `bent`.
        """
        forced = self.forced(actions)
        if not self.control.executor_chooses:
            return forced
        chosen = self._chosen(self.bent(parameters, actions, states), seed)
        return tf.where(forced >= 0, forced, chosen)

    def phrases(self, actions: Array, rows: Array) -> list[tuple[int, Row]]:
        """Returns which of `[R]` rows insert more than one token, and the tokens."""
        if not self.control.phrases:
            return []
        lexicon, phrase = self.lexicon, self.control.phrase
        pairs = [(int(row), phrase(actions[row], lexicon)) for row in rows]
        return [(row, p) for row, p in pairs if p is not None and len(p) > 1]

    @property
    def inserts(self) -> bool:
        """Whether a phrase has more than one token."""
        return any(len(row) > 1 for row in self.lexicon.phrases)

    def _chosen(self, parameters: Tensor, seed: Tensor) -> Tensor:
        family = self.executor.family
        if self.control.deterministic:
            return tf.cast(family.mode(parameters), tf.int32)
        return tf.cast(family.sample(parameters, seed), tf.int32)
