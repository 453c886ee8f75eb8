"""What ends a text: end tokens, and strings that a few tokens make together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kpg import checks
from kpg.language.tokenizers.codec import Codec, Tokens, id_of
from kpg.language.tokenizers.spelling import Spelling, spelling_of
from kpg.models.language.writing import Writing
from kpg.types import Array, Nest, Tensor


class Ending:
    """Ends a text with an end token, or with the token that completes a stop string.

    An automaton follows the bytes that tokens stand for: its state is the longest end
    of the text that begins a stop string. Where all tokens lead is a table, so that a
    step is one look-up, in any graph. Only what is written counts, not the prompt.

    Reference: Aho and Corasick, "Efficient string matching: an aid to bibliographic
    search" (1975), https://doi.org/10.1145/360825.360855.

    Args:
        tokens: Those that end a text.
        stop: Strings that do.
        spelling: What tokens stand for; needed with `stop`.

    Raises:
        ValueError: If no sequence of tokens writes a stop string.
    """

    def __init__(
        self,
        tokens: Sequence[int],
        stop: Sequence[str] = (),
        spelling: Spelling | None = None,
    ) -> None:
        self.tokens = tuple(tokens)
        self.stop = tuple(stop)
        self._table: Array | None = None
        if stop and spelling is not None:
            for text in stop:
                _check_possible(text, self.tokens, spelling)
            self._table = _table(self.tokens, self.stop, spelling)

    def start(self, count: int | Tensor) -> Nest:
        """Returns the states of `count` texts that begin."""
        return () if self._table is None else tf.fill([count], len(self._table) - 1)

    def after(self, state: Nest, tokens: Tensor) -> tuple[Nest, Tensor]:
        """Returns the states after one more token `[B]`, and whether it is the last."""
        if self._table is None:
            ends = [tokens == token for token in self.tokens]
            return (), tf.reduce_any(tf.stack(ends), axis=0)
        flat = state * self._table.shape[1] + tokens
        state = tf.gather(tf.constant(self._table.ravel()), flat)
        return state, state == len(self._table) - 2

    def ended(self, row: Tokens) -> bool:
        """Whether a completion of one or more tokens has ended by itself."""
        if self._table is None:
            return bool(row[-1] in self.tokens)
        state = len(self._table) - 1
        for token in row:
            state = self._table[state, token]
        return bool(state == len(self._table) - 2)

    def kept(self, row: Tokens) -> Tokens:
        """Returns the tokens of a completion without its end token."""
        return row[: len(row) - (row[-1] in self.tokens)]

    def cut(self, text: str) -> str:
        """Returns a text up to the first stop string."""
        found = [text.find(end) for end in self.stop if end in text]
        return text[: min(found)] if found else text

    def cut_in_graph(self, texts: Tensor) -> Tensor:
        """Builds graph: texts `[B]` up to the first stop string of each."""
        if not self.stop:
            return texts
        quoted = ("".join(f"\\x{{{ord(c):x}}}" for c in text) for text in self.stop)
        return tf.strings.regex_replace(texts, f"(?s)(?:{'|'.join(quoted)}).*", "")


def ending_for(codec: Codec, vocabulary_size: int, writing: Writing) -> Ending:
    """Returns what ends the texts of a policy over V tokens."""
    own = int(codec.tokenizer.end_token_id)
    others = [_token(one, codec, vocabulary_size) for one in writing.end_tokens]
    spelling = spelling_of(codec, vocabulary_size) if writing.stop else None
    return Ending([own, *others], writing.stop, spelling)


def _token(one: str | int, codec: Codec, vocabulary_size: int) -> int:
    """Returns an end token that was given by its number or by its name."""
    if isinstance(one, str):
        (row,) = codec.encode([one])
        if len(row) == 1 and codec.decode([row]) == [one]:
            return int(row[0])
        return id_of(one, codec.tokenizer)
    if checks.whole_number("end_tokens", one, 0) >= vocabulary_size:
        checks.refuse("end_tokens", f"must be of {vocabulary_size} tokens", one)
    return one


def _table(tokens: Sequence[int], stop: Sequence[str], spelling: Spelling) -> Array:
    """Returns the state after each state and token, `[S + 2, V]` int32.

    0 is the state of a text whose end begins no stop string; the last one is that of a
    text that begins, the last but one that of a text that has ended.
    """
    steps = _steps([text.encode() for text in stop])
    inside, first = spelling
    rows = [_run(steps, state, inside) for state in range(len(steps))]
    table = np.stack([*rows, _run(steps, 0, first)])
    table[:, list(tokens)] = len(steps) - 1
    return table


def _steps(stop: Sequence[bytes]) -> Array:
    """Returns the state after each state and byte, `[S + 1, 256]`.

    The last state is the end, which is never left.
    """
    prefixes = {text[:size] for text in stop for size in range(len(text))}
    begun = sorted(prefixes, key=len)
    numbers = {text: number for number, text in enumerate(begun)}
    steps = np.full([len(begun) + 1, 256], len(begun), np.int32)
    for text, number in numbers.items():
        for byte in range(256):
            longer = text + bytes([byte])
            if not longer.endswith(tuple(stop)):
                ends = (longer[cut:] for cut in range(len(longer) + 1))
                steps[number, byte] = next(numbers[e] for e in ends if e in numbers)
    return steps


def _run(steps: Array, state: int, spelled: Sequence[bytes]) -> Array:
    """Returns the state `[V]` after each of V runs of bytes."""
    lengths = np.array([len(text) for text in spelled])
    states = np.full(len(spelled), state, np.int32)
    order = np.argsort(-lengths, kind="stable")
    for place in range(int(lengths.max(initial=0))):
        # Those that are longer stand in front.
        longer = order[: int((lengths > place).sum())]
        read = np.fromiter((spelled[token][place] for token in longer), np.int32)
        states[longer] = steps[states[longer], read]
    return states


def _check_possible(text: str, tokens: Sequence[int], spelling: Spelling) -> None:
    """Refuses a stop string that no sequence of tokens writes."""
    table = _table((), [text], spelling)
    table[:, list(tokens)] = 0
    reached, found = {len(table) - 1}, {len(table) - 1}
    while found:
        found = set(np.unique(table[sorted(found)]).tolist()) - reached
        reached |= found
    if len(table) - 2 not in reached:
        raise ValueError(
            "A stop string must be one that the tokenizer can write, or no text ends "
            "with it; leave it out, or give its token in `end_tokens`. Received: "
            f"stop with {text!r}"
        )
