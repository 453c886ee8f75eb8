"""Which decoder reads a language model's texts."""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

import numpy as np
import tensorflow as tf

from kpg.models.language.causal_lm_trunk import LanguageTrunk
from kpg.models.language.decoding.decoder import (
    CachedDecoder,
    Decoder,
    RereadingDecoder,
)
from kpg.models.language.decoding.gpt2 import GPT2Decoder
from kpg.models.language.decoding.llama import LlamaDecoder
from kpg.models.language.decoding.per_layer_cache import LayeredDecoder
from kpg.models.language.decoding.seq2seq import Seq2SeqDecoder, Seq2SeqRereader
from kpg.models.language.decoding.tables import put, put_anywhere
from kpg.models.language.seq2seq_trunk import Seq2SeqTrunk
from kpg.models.language.text_trunk import TextTrunk

_FAST: dict[str, type[LayeredDecoder]] = {
    "GPT2Backbone": GPT2Decoder,
    "LlamaBackbone": LlamaDecoder,
    "Llama3Backbone": LlamaDecoder,
    "MistralBackbone": LlamaDecoder,
    "QwenBackbone": LlamaDecoder,
}
# Reading a few texts takes seconds with a large model, and the answer never changes.
_AGREES = WeakKeyDictionary[TextTrunk, dict[tuple[type, bool], bool]]()


def decoder_for(trunk: TextTrunk, portable: bool = False) -> Decoder[TextTrunk]:
    """Returns the fastest decoder that reads a model as the model itself does.

    A `portable` one's graph runs where XLA does not.
    """
    if isinstance(trunk, Seq2SeqTrunk):
        return Seq2SeqRereader(trunk) if portable else Seq2SeqDecoder(trunk)
    known = _AGREES.setdefault(trunk, {})
    for decoder in _cached(trunk, portable):
        key = type(decoder), portable
        if key not in known:
            with tf.init_scope():
                known[key] = agrees(decoder, trunk)
        if known[key]:
            return decoder
    return RereadingDecoder(trunk)


def _cached(trunk: LanguageTrunk, portable: bool) -> Iterator[Decoder[LanguageTrunk]]:
    """Yields the decoders with a cache, the fastest first."""
    kind = _FAST.get(type(trunk.causal_lm.backbone).__name__)
    if kind is not None:
        yield kind(trunk, put_anywhere if portable else put)
    if not portable:
        yield CachedDecoder(trunk)


def agrees(decoder: Decoder[LanguageTrunk], trunk: LanguageTrunk) -> bool:
    """Whether a decoder gives the model's features on a few texts of any tokens.

    Not if KerasHub's layers have other parts than it knows, or the model's own cache is
    at fault, as that of GPT-NeoX in KerasHub 0.32.
    """
    try:
        return _error(decoder, trunk) <= (1e-3 if trunk.exact else 0.1)
    except AttributeError:
        return False


def _error(decoder: Decoder[LanguageTrunk], trunk: LanguageTrunk) -> float:
    """Returns the largest error of a feature, as a share of the largest feature."""
    tokens = np.random.default_rng(0).integers(trunk.vocabulary_size, size=(2, 6))
    texts = tf.constant(tokens, tf.int32)
    want = tf.cast(trunk(texts), tf.float32)
    lengths = tf.constant([2, 3])
    features, cache = decoder.start(texts[:, :3], lengths, 3)
    first = lengths - decoder.offsets(lengths)
    got = [features]
    for step in range(3):
        fed = tf.gather(texts, first + step, batch_dims=1)
        features, cache = decoder.advance(fed, tf.constant(step), lengths, cache)
        got.append(features)
    places = first[:, tf.newaxis] - 1 + tf.range(4)
    want = tf.gather(want, places, batch_dims=1)
    error = tf.abs(tf.cast(tf.stack(got, axis=1), tf.float32) - want)
    return float(tf.reduce_max(error) / tf.reduce_max(tf.abs(want)))
