"""Writing with a decoder that looks at what an encoder read, token by token."""

from __future__ import annotations

import keras
import tensorflow as tf
from typing_extensions import override

from kpg.models.language.decoding.decoder import Decoder, Read
from kpg.models.language.decoding.tables import put_anywhere, sizes, widened
from kpg.models.language.seq2seq_trunk import Seq2SeqTrunk
from kpg.types import Nest, Tensor


class Seq2SeqDecoder(Decoder[Seq2SeqTrunk]):
    """Decodes by `call_decoder_with_cache`, which KerasHub's Seq2SeqLMs have.

    All targets begin with the same tokens, so that no row waits.
    """

    @override
    def start(self, prompts: Tensor, lengths: Tensor, new_tokens: int) -> Read:
        lm, source = self.trunk.lm, self.trunk.framed(prompts, lengths)
        started = self.trunk.started(sizes(prompts)[0])
        own, cross = lm._initialize_cache(source[0], widened(started, new_tokens, 1))
        read = (lm.call_encoder(*source), source[1])
        _, features, own, cross = lm.call_decoder_with_cache(
            *(*read, started),
            self_attention_cache=own,
            self_attention_cache_update_index=0,
            cross_attention_cache=cross,
            cross_attention_cache_update_index=0,
        )
        return features[:, -1], (own, cross, *read)

    @override
    def advance(
        self, tokens: Tensor, step: Tensor, lengths: Tensor, cache: Nest
    ) -> Read:
        own, cross, *read = cache
        _, features, own, _ = self.trunk.lm.call_decoder_with_cache(
            *(*read, tokens[:, tf.newaxis]),
            self_attention_cache=own,
            self_attention_cache_update_index=len(self.trunk.framing.start) + step,
            cross_attention_cache=cross,
            cross_attention_cache_update_index=None,
        )
        return features[:, 0], (own, cross, *read)


class Seq2SeqRereader(Decoder[Seq2SeqTrunk]):
    """Decodes by reading the whole target again for each token, without a cache.

    Like `RereadingDecoder`, it needs no operation that a server lacks.
    """

    def __init__(self, trunk: Seq2SeqTrunk) -> None:
        super().__init__(trunk)
        backbone: keras.Model = trunk.lm.backbone
        given, results = backbone.input, backbone.output
        read, wrote = "encoder_sequence_output", "decoder_sequence_output"
        # The backbone in two halves, of the same layers.
        source = [given["encoder_token_ids"], given["encoder_padding_mask"]]
        target = [given["decoder_token_ids"], given["decoder_padding_mask"]]
        self._encode = keras.Model(source, results[read])
        self._decode = keras.Model([results[read], source[1], *target], results[wrote])

    @override
    def start(self, prompts: Tensor, lengths: Tensor, new_tokens: int) -> Read:
        """It caches what was read, and the target."""
        read = self.read(prompts, lengths)
        started = self.trunk.started(sizes(prompts)[0])
        target = widened(started, new_tokens, axis=1)
        place = started.shape[1] - 1
        return tf.gather(self.features(target, *read), place, axis=1), (target, *read)

    @override
    def advance(
        self, tokens: Tensor, step: Tensor, lengths: Tensor, cache: Nest
    ) -> Read:
        target, *read = cache
        place = len(self.trunk.framing.start) + step
        target = put_anywhere(target, tokens[:, tf.newaxis], place, axis=1)
        return tf.gather(self.features(target, *read), place, axis=1), (target, *read)

    def read(self, prompts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what the encoder says of prompts, and where they are text."""
        source, mask = self.trunk.framed(prompts, lengths)
        return self._encode([source, mask], training=False), mask

    def features(self, target: Tensor, read: Tensor, mask: Tensor) -> Tensor:
        """Returns features `[B, L, F]` behind all places of targets `[B, L]`."""
        return self._decode([read, mask, target, tf.ones_like(target)], training=False)
