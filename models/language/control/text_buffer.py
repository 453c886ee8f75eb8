"""The texts that an executor is writing, on the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from kpg.models.language.control.word_classes import WordClasses
from kpg.types import Array


@dataclasses.dataclass(eq=False)
class TextBuffer:
    """B texts, each a prompt and a completion that grows behind it.

    `prompts` are `[N, P]` int32, padded on the right, `tokens` `[B, P + T]`; `indices`
    say which prompts, `counts` how many tokens the completions have, `states` where
    they are in the word classes, `stopped` whether they have their end token, and
    `likelihoods`, `[B, T]`, what was said of their tokens, NaN if nothing.
    """

    prompts: Array
    prompt_lengths: Array
    classes: WordClasses
    count: int
    new_tokens: int
    end: int

    def __post_init__(self) -> None:
        count = self.count
        self.tokens = np.zeros([count, self.prompt_room + self.new_tokens], np.int32)
        self.indices = np.zeros(count, np.int64)
        self.counts = np.zeros(count, np.int32)
        self.states = np.zeros(count, np.int32)
        self.stopped = np.zeros(count, bool)
        self.likelihoods = np.full([count, self.new_tokens], np.nan)

    @property
    def lengths(self) -> Array:
        """`[B]` int32, tokens of each text in all."""
        return np.asarray(self.own_prompts + self.counts)

    @property
    def own_prompts(self) -> Array:
        """`[B]` int32, tokens of each text's prompt."""
        return np.asarray(self.prompt_lengths[self.indices])

    @property
    def ended(self) -> Array:
        """`[B]` bool, whether a completion has its end token or no room left."""
        return np.asarray(self.stopped | (self.counts == self.new_tokens))

    @property
    def prompt_room(self) -> int:
        """P, tokens of the longest prompt."""
        return int(self.prompts.shape[1])

    def begin(self, rows: Array, indices: Array) -> None:
        """Begins a new text in each of `[R]` rows, with `[R]` prompts."""
        self.indices[rows] = indices
        for table in (self.tokens, self.counts, self.states, self.stopped):
            table[rows] = 0
        self.tokens[rows, : self.prompt_room] = self.prompts[indices]

    def append(
        self, rows: Array, tokens: Array, likelihoods: Array | float = np.nan
    ) -> None:
        """Adds a token to each of `[R]` completions, none of which has ended."""
        self.tokens[rows, self.lengths[rows]] = tokens
        self.likelihoods[rows, self.counts[rows]] = likelihoods
        self.counts[rows] += 1
        self.stopped[rows] = tokens == self.end
        if self.classes.names:
            for row, token in zip(rows, tokens, strict=True):
                state = int(self.states[row])
                self.states[row] = self.classes.after(state, int(token))

    def insert(self, row: int, phrase: Iterable[int]) -> None:
        """Adds tokens to one completion, as many as there is room for."""
        for token in phrase:
            if self.ended[row]:
                return
            self.append(np.array([row]), np.array([token]))

    def prompt_ids(self, row: int) -> Array:
        """Returns the tokens of a text's prompt."""
        return self.tokens[row, : self.prompt_lengths[self.indices[row]]].copy()

    def completion_ids(self, row: int) -> Array:
        """Returns the tokens of a completion, its end included."""
        first = self.prompt_lengths[self.indices[row]]
        return self.tokens[row, first : first + self.counts[row]].copy()
