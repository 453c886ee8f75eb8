"""Which bytes each token stands for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kpg.language.tokenizers.codec import Codec
from kpg.language.tokenizers.tokenizer import GraphTokenizer


class Spelling(NamedTuple):
    """The bytes of V tokens: inside a text, and as the first token of one.

    Some tokenizers write a space before a word only where something is before it. A
    token without a text, such as one that the model alone has, has no bytes.
    """

    inside: list[bytes]
    first: list[bytes]


def spelling_of(codec: Codec, vocabulary_size: int) -> Spelling:
    """Returns the spelling of a tokenizer of any make, for a model's V tokens.

    kpg's tokenizers tell it. Of others it is what they write behind another token; of
    characters in parts, that may be a replacement character.
    """
    if isinstance(codec.tokenizer, GraphTokenizer):
        alone = inside = list(codec.tokenizer.texts)
    else:
        size = int(codec.tokenizer.vocabulary_size())
        alone = codec.decode_bytes(
            [np.array([token], np.int32) for token in range(size)]
        )
        anchor = next((t for t, text in enumerate(alone) if text.isalpha()), 0)
        pairs = [np.array([anchor, token], np.int32) for token in range(size)]
        inside = [
            text.removeprefix(alone[anchor]) if text.startswith(alone[anchor]) else b""
            for text in codec.decode_bytes(pairs)
        ]
    missing = [b""] * (vocabulary_size - len(alone))
    return Spelling(inside + missing, alone + missing)
