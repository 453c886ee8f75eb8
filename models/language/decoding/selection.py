"""Which decoder reads a language model's texts."""

from __future__ import annotations

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
    kind = _FAST.get(type(trunk.causal_lm.backbone).__name__)
    write = put_anywhere if portable else put
    fastest: list[Decoder[LanguageTrunk]] = [kind(trunk, write)] if kind else []
    generic = [] if portable else [CachedDecoder(trunk)]
    known = _AGREES.setdefault(trunk, {})
    for decoder in [*fastest, *generic]:
        key = type(decoder), portable
        if key not in known:
            with tf.init_scope():
                known[key] = agrees(decoder, trunk)
        if known[key]:
            return decoder
    return RereadingDecoder(trunk)


def agrees(decoder: Decoder[LanguageTrunk], trunk: LanguageTrunk) -> bool:
    """Whether a decoder gives the model's features on a few texts of any tokens.

    Not if KerasHub's layers have other parts than it knows, or the model's own cache is
    at fault, as that of GPT-NeoX in KerasHub 0.32. Nor if it differs once `ready`.
    """
    ready = decoder.ready()
    return _agrees(decoder, trunk) and (ready is decoder or _agrees(ready, trunk))


def _agrees(decoder: Decoder[LanguageTrunk], trunk: LanguageTrunk) -> bool:
    tokens = np.random.default_rng(0).integers(trunk.vocabulary_size, size=(2, 6))
    texts = tf.constant(tokens, tf.int32)
    lengths = tf.constant([2, 3])
    first = lengths - decoder.offsets(lengths)
    try:
        features, cache = decoder.start(texts[:, :3], lengths, 3)
        got = [features]
        for step in range(3):
            fed = tf.gather(texts, first + step, batch_dims=1)
            features, cache = decoder.advance(fed, tf.constant(step), lengths, cache)
            got.append(features)
    except AttributeError:
        return False
    places = first[:, tf.newaxis] - 1 + tf.range(4)
    want = tf.gather(tf.cast(trunk(texts), tf.float32), places, batch_dims=1)
    error = tf.abs(tf.cast(tf.stack(got, axis=1), tf.float32) - want)
    share = tf.reduce_max(error) / tf.reduce_max(tf.abs(want))
    return float(share) <= (1e-3 if trunk.exact else 0.1)
