"""Reading texts that begin and end at different times."""

from __future__ import annotations

from abc import ABC, abstractmethod

import tensorflow as tf
from typing_extensions import override

from kpg.models.language.causal_lm_trunk import LanguageTrunk
from kpg.models.language.decoding.decoder import Read
from kpg.models.language.decoding.per_layer_cache import LayerCache, LayeredDecoder
from kpg.models.language.decoding.selection import decoder_for
from kpg.types import Nest, Tensor


class RowwiseDecoder(ABC):
    """Reads B texts, each at its own place, replaceable at any time; builds graph."""

    @abstractmethod
    def start(self, texts: Tensor, lengths: Tensor) -> Read:
        """Returns features `[B, F]` behind texts `[B, L]` of `[B]` tokens, and memory.

        The memory is a nest of tensors `[B, ...]`, and of numbers that all texts share.
        """

    @abstractmethod
    def advance(self, memory: Nest, tokens: Tensor, lengths: Tensor) -> Read:
        """Reads one more token `[B]` of each text, which had `[B]` tokens before."""


class SlotDecoder(RowwiseDecoder):
    """Reads with a cache that has a slot for each token, seen or not.

    All rows fill the slots behind `room`, the tokens of the longest text given to
    `start`, over and over. A text needs at most `new_tokens` of them: none is
    overwritten while its row still sees it, and a new text sees nothing older.
    """

    def __init__(self, decoder: LayeredDecoder, room: int, new_tokens: int) -> None:
        self.decoder = decoder
        self.room = room
        self.new_tokens = new_tokens

    @override
    def start(self, texts: Tensor, lengths: Tensor) -> Read:
        empty = self.room + self.new_tokens - texts.shape[1]
        features, cache = self.decoder.start(texts, lengths, empty)
        return features, cache._replace(slot=tf.constant(self.room))

    @override
    def advance(self, memory: LayerCache, tokens: Tensor, lengths: Tensor) -> Read:
        # A decoder's place in a text is `lengths + step`.
        step = tf.constant(0)
        features, memory = self.decoder.advance(tokens, step, lengths, memory)
        last = self.room + self.new_tokens
        slot = tf.where(memory.slot == last, self.room, memory.slot)
        return features, memory._replace(slot=slot)


class TextDecoder(RowwiseDecoder):
    """Reads every text again for each token, with any model; it remembers the texts."""

    def __init__(self, trunk: LanguageTrunk, room: int) -> None:
        self.trunk = trunk
        self.room = room

    @override
    def start(self, texts: Tensor, lengths: Tensor) -> Read:
        texts = tf.pad(texts, [[0, 0], [0, self.room - texts.shape[1]]])
        return tf.gather(self.trunk(texts), lengths - 1, batch_dims=1), texts

    @override
    def advance(self, memory: Tensor, tokens: Tensor, lengths: Tensor) -> Read:
        here = tf.range(self.room) == lengths[:, tf.newaxis]
        texts = tf.where(here, tokens[:, tf.newaxis], memory)
        places = tf.minimum(lengths, self.room - 1)
        return tf.gather(self.trunk(texts), places, batch_dims=1), texts


def rowwise_decoder_for(
    trunk: LanguageTrunk, prompt_tokens: int, new_tokens: int, again: bool
) -> RowwiseDecoder:
    """Returns the fastest decoder that keeps a place for each row.

    `again` says whether `start` will be given prompts together with what followed.
    """
    decoder = decoder_for(trunk)
    if isinstance(decoder, LayeredDecoder):
        return SlotDecoder(decoder, prompt_tokens + again * new_tokens, new_tokens)
    return TextDecoder(trunk, prompt_tokens + new_tokens)
