"""What kpg asks of a tokenizer; KerasHub's and those of `kpg.text` have it."""

from __future__ import annotations

from typing import Protocol

from kpg.types import Tensor


class Tokenizer(Protocol):
    """Strings to tokens and back, by operations that a graph can hold.

    A `pad_token_id` is optional; without one, padding is 0.
    """

    @property
    def end_token_id(self) -> int:
        """The token that ends a text."""
        ...

    def vocabulary_size(self) -> int:
        """Returns the number of tokens."""
        ...

    def tokenize(self, inputs: Tensor, /) -> Tensor:
        """Returns the tokens of `[B]` strings, ragged `[B, None]`."""
        ...

    def detokenize(self, inputs: Tensor, /) -> Tensor:
        """Returns `[B]` strings of ragged `[B, None]` tokens."""
        ...
