"""Reading texts that begin and end at different times."""

from __future__ import annotations

from abc import ABC, abstractmethod

import tensorflow as tf
from typing_extensions import override

from kpg.models.language.decoding.decoder import Read
from kpg.models.language.decoding.per_layer_cache import LayerCache, LayeredDecoder
from kpg.models.language.decoding.selection import decoder_for
from kpg.models.language.decoding.seq2seq import Seq2SeqRereader
from kpg.models.language.seq2seq_trunk import Seq2SeqTrunk
from kpg.models.language.text_trunk import TextTrunk
from kpg.types import Nest, Tensor


class RowwiseDecoder(ABC):
    """Reads B texts, each at its own place, replaceable at any time; builds graph."""

    @abstractmethod
    def start(self, texts: Tensor, lengths: Tensor, prompts: Tensor) -> Read:
        """Returns features `[B, F]` behind texts `[B, L]` of `[B]` tokens, and memory.

        The first tokens of a text, `[B]` of them, are its prompt. The memory is a nest
        of tensors `[B, ...]`, and of numbers that all texts share.
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
    def start(self, texts: Tensor, lengths: Tensor, prompts: Tensor) -> Read:
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

    def __init__(self, trunk: TextTrunk, room: int) -> None:
        self.trunk = trunk
        self.room = room

    @override
    def start(self, texts: Tensor, lengths: Tensor, prompts: Tensor) -> Read:
        texts = tf.pad(texts, [[0, 0], [0, self.room - texts.shape[1]]])
        return tf.gather(self.trunk(texts), lengths - 1, batch_dims=1), texts

    @override
    def advance(self, memory: Tensor, tokens: Tensor, lengths: Tensor) -> Read:
        here = tf.range(self.room) == lengths[:, tf.newaxis]
        texts = tf.where(here, tokens[:, tf.newaxis], memory)
        places = tf.minimum(lengths, self.room - 1)
        return tf.gather(self.trunk(texts), places, batch_dims=1), texts


class TargetDecoder(RowwiseDecoder):
    """Reads every target again for each token, with a Seq2SeqLM; sources only once.

    It remembers the targets, what the encoder said, and how long the prompts are.
    """

    def __init__(self, trunk: Seq2SeqTrunk, room: tuple[int, int]) -> None:
        self.trunk = trunk
        self.room = room
        self.halves = Seq2SeqRereader(trunk)

    @override
    def start(self, texts: Tensor, lengths: Tensor, prompts: Tensor) -> Read:
        sources, targets = self.trunk.apart(texts, lengths, prompts, self.room)
        memory = (targets, *self.halves.read(sources, prompts), prompts)
        return self._features(memory, lengths - 1), memory

    @override
    def advance(self, memory: Nest, tokens: Tensor, lengths: Tensor) -> Read:
        targets, *read, prompts = memory
        place = len(self.trunk.framing.start) + lengths - prompts
        here = tf.range(targets.shape[1]) == place[:, tf.newaxis]
        memory = (tf.where(here, tokens[:, tf.newaxis], targets), *read, prompts)
        return self._features(memory, lengths), memory

    def _features(self, memory: Nest, last: Tensor) -> Tensor:
        """Returns features behind the last token of each text, at `[B]` places."""
        targets, *read, prompts = memory
        place = len(self.trunk.framing.start) + last - prompts
        # What ended has no next place.
        place = tf.minimum(place, targets.shape[1] - 1)
        return tf.gather(self.halves.features(targets, *read), place, batch_dims=1)


def rowwise_decoder_for(
    trunk: TextTrunk, prompt_tokens: int, new_tokens: int, again: bool
) -> RowwiseDecoder:
    """Returns the fastest decoder that keeps a place for each row.

    `again` says whether `start` will be given prompts together with what followed.
    """
    if isinstance(trunk, Seq2SeqTrunk):
        return TargetDecoder(trunk, (prompt_tokens, new_tokens))
    decoder = decoder_for(trunk)
    if isinstance(decoder, LayeredDecoder):
        return SlotDecoder(decoder, prompt_tokens + again * new_tokens, new_tokens)
    return TextDecoder(trunk, prompt_tokens + new_tokens)
