"""Which tokens continue a word of a class, after the text so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Row: TypeAlias = NDArray[np.int32]


class WordClasses:
    """Classes of words, each word a sequence of tokens.

    One automaton follows a text: its state is the longest end of the text that begins a
    word of any class. A class continues the longest such end that begins one of its own
    words; where there is none, it continues with the first token of each word.
    `continuing`, `[S, C, V]` bool, says which tokens continue a class in a state.

    Reference: Aho and Corasick, "Efficient string matching: an aid to bibliographic
    search" (1975), https://doi.org/10.1145/360825.360855.
    """

    def __init__(
        self, words: Mapping[str, Sequence[Row]], vocabulary_size: int
    ) -> None:
        self.names = tuple(words)
        self._edges: list[dict[int, int]] = [{}]
        self._fallback = [0]
        members: list[set[int]] = [set()]
        for number, rows in enumerate(words.values()):
            for row in rows:
                self._add(row, number, members)
        shape = (len(members), len(self.names), vocabulary_size)
        self.continuing = np.zeros(shape, bool)
        for state in self._breadth_first():
            self.continuing[state] = self.continuing[self._fallback[state]]
            edges = self._edges[state].items()
            for number in range(len(self.names)):
                own = [token for token, child in edges if number in members[child]]
                if own:
                    self.continuing[state, number] = False
                    self.continuing[state, number, own] = True

    def after(self, state: int, token: int) -> int:
        """Returns the state after one more token; that of no text is 0."""
        while state and token not in self._edges[state]:
            state = self._fallback[state]
        return self._edges[state].get(token, 0)

    def _add(self, row: Row, number: int, members: list[set[int]]) -> None:
        """Adds a word of a class to the tree of all words."""
        state = 0
        for token in row.tolist():
            if token not in self._edges[state]:
                self._edges[state][token] = len(members)
                self._edges.append({})
                self._fallback.append(0)
                members.append(set())
            state = self._edges[state][token]
            members[state].add(number)

    def _breadth_first(self) -> Iterable[int]:
        """Yields every state after the shorter ones, and finds where each falls to."""
        waiting = deque([0])
        while waiting:
            state = waiting.popleft()
            for token, child in self._edges[state].items():
                if state:
                    self._fallback[child] = self.after(self._fallback[state], token)
                waiting.append(child)
            yield state
