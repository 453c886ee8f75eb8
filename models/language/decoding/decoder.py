"""Reading a text token by token, with a cache of what attention needs of the past."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeAlias, TypeVar

import tensorflow as tf
from typing_extensions import Self, override

from kpg.graph.compiling import aside
from kpg.models.language.causal_lm_trunk import LanguageTrunk
from kpg.models.language.decoding.tables import put_anywhere, sizes, widened
from kpg.models.language.text_trunk import TextTrunk
from kpg.types import Nest, Tensor

Read: TypeAlias = tuple[Tensor, Nest]
"""Features `[B, F]` from which the next step chooses, and the cache."""

TrunkT_co = TypeVar("TrunkT_co", bound=TextTrunk, covariant=True)


class Decoder(ABC, Generic[TrunkT_co]):
    """Reads B texts on, one token of each at a time; every method builds graph.

    In step `i` a row is at its own token `i − offsets`; before its first it is still
    reading its prompt. By default every row is at a place of its own.
    """

    def __init__(self, trunk: TrunkT_co) -> None:
        self.trunk = trunk

    def num_steps(self, prompt_room: int, new_tokens: int) -> int:
        """Returns the most steps any row needs for prompts of up to `prompt_room`."""
        return new_tokens

    def offsets(self, lengths: Tensor) -> Tensor:
        """Returns `[B]` int32: the step in which a row chooses its first token."""
        return tf.zeros_like(lengths)

    def ready(self) -> Self:
        """Returns a decoder for many steps of one graph, which may prepare for them."""
        return self

    def stages(self, new_tokens: int | Tensor) -> list[int | Tensor]:
        """Returns how many tokens to make room for at first, then again and again."""
        return [new_tokens]

    def grown(self, cache: Nest, new_tokens: int | Tensor) -> Nest:
        """Returns a cache with room for more tokens."""
        return cache

    @abstractmethod
    def start(self, prompts: Tensor, lengths: Tensor, new_tokens: int) -> Read:
        """Reads prompts `[B, P]` int32 of `[B]` tokens, in 1 … P."""

    @abstractmethod
    def advance(
        self, tokens: Tensor, step: Tensor, lengths: Tensor, cache: Nest
    ) -> Read:
        """Reads the tokens `[B]` of a step."""


class LockstepDecoder(Decoder[LanguageTrunk], ABC):
    """Decodes at one place for all rows; short prompts go ahead, the longest last."""

    @override
    def num_steps(self, prompt_room: int, new_tokens: int) -> int:
        return prompt_room - 1 + new_tokens

    @override
    def offsets(self, lengths: Tensor) -> Tensor:
        return lengths - tf.reduce_min(lengths)


class CachedDecoder(LockstepDecoder):
    """Decodes by `call_with_cache`, which every CausalLM of KerasHub has."""

    @override
    def start(self, prompts: Tensor, lengths: Tensor, new_tokens: int) -> Read:
        """What is cached behind a row's place is written again.

        The place is part of the cache: if it followed from the lengths, XLA would
        compile the loop anew for each of their values.
        """
        batch_size, room = prompts.shape
        # No public method tells the shape of a cache.
        with aside():
            tokens = tf.zeros([batch_size, room + new_tokens], tf.int32)
            _, like = self.trunk.causal_lm._build_cache(tokens)
        cache = tf.zeros(like.shape, like.dtype)
        _, features, cache = self.trunk.causal_lm.call_with_cache(prompts, cache, 0)
        place = tf.reduce_min(lengths)
        return tf.gather(features, place - 1, axis=1), (cache, place)

    @override
    def advance(
        self, tokens: Tensor, step: Tensor, lengths: Tensor, cache: Nest
    ) -> Read:
        table, place = cache
        _, features, table = self.trunk.causal_lm.call_with_cache(
            tokens[:, tf.newaxis], table, place
        )
        return features[:, 0], (table, place + 1)


class RereadingDecoder(LockstepDecoder):
    """Decodes by reading the whole text again for each token, without a cache.

    A server lacks no operation for it: XLA compiles what KerasHub's caches are written
    with (https://github.com/tensorflow/serving/issues/2217).
    """

    @override
    def start(self, prompts: Tensor, lengths: Tensor, new_tokens: int) -> Read:
        """It caches the text and the place of its next token."""
        place = tf.minimum(tf.reduce_min(lengths), sizes(prompts)[1])
        text = widened(prompts, new_tokens, axis=1)
        return tf.gather(self.trunk(text), place - 1, axis=1), (text, place)

    @override
    def advance(
        self, tokens: Tensor, step: Tensor, lengths: Tensor, cache: Nest
    ) -> Read:
        text, place = cache
        text = put_anywhere(text, tokens[:, tf.newaxis], place, axis=1)
        return tf.gather(self.trunk(text), place, axis=1), (text, place + 1)
