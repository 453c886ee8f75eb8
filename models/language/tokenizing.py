"""Which tokenizer a model is read with, and what it puts before a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from kpg.language.tokenizers.codec import Codec
from kpg.language.tokenizers.tokenizer import Tokenizer


def chosen_tokenizer(tokenizer: Tokenizer | None, lm: keras.Model) -> Tokenizer:
    """Returns the tokenizer that was given, or that of the model's preprocessor."""
    owner = getattr(lm, "preprocessor", None)
    found: Tokenizer | None = tokenizer or getattr(owner, "tokenizer", None)
    if found is None:
        raise ValueError(
            "A model without a preprocessor needs a `tokenizer`, for example "
            f"`kpg.text.ByteTokenizer()`. Received: {getattr(lm, 'name', lm)!s}, "
            "tokenizer=None"
        )
    return found


def adds_start_token(
    lm: keras.Model, tokenizer: Tokenizer, wanted: bool | None
) -> bool:
    """Whether prompts begin with the tokenizer's start token.

    `None` is what the model's preprocessor does, or that of its family if the tokenizer
    is the family's, or what the tokenizer says itself in `add_start_token`.
    """
    known = getattr(tokenizer, "start_token_id", None) is not None
    if wanted and not known and has_vocabulary(tokenizer):
        raise ValueError(
            "`add_start_token` needs a tokenizer with a `start_token_id`. Received: "
            f"add_start_token=True, {type(tokenizer).__name__}"
        )
    if wanted is not None or not known:
        return bool(wanted)
    owner = getattr(lm, "preprocessor", None)
    kind: Any = getattr(lm, "preprocessor_cls", None)
    if getattr(owner, "tokenizer", None) is not tokenizer:
        owner = tokenizer
        if kind is not None and isinstance(tokenizer, kind.tokenizer_cls):
            owner = kind(tokenizer)
    return bool(getattr(owner, "add_start_token", False))


def codec_of(
    tokenizer: Tokenizer, add_start_token: bool, special_tokens: Sequence[str] = ()
) -> Codec:
    """Returns the codec of texts whose prompts begin with a start token, or do not."""
    start = getattr(tokenizer, "start_token_id", None) if add_start_token else None
    return Codec(tokenizer, start, special_tokens)


def has_vocabulary(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer knows its words; a loaded one is told them last."""
    try:
        tokenizer.vocabulary_size()
    except ValueError:
        return False
    except AttributeError:
        pass
    return True
