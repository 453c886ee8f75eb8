"""Reading a text token by token, with a cache of its own for each layer."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import tensorflow as tf

from kpg.models.language.causal_lm_trunk import LanguageTrunk
from kpg.models.language.decoding.decoder import Decoder
from kpg.models.language.decoding.tables import Put, put, sizes, widened


class LayerCache(NamedTuple):
    """What attention needs of the past.

    Attributes:
        keys: For each layer `[B, K, S, D]`: S slots, first those of the prompts with
            their padding, then one for each step.
        values: As `keys`.
        slot: Scalar int32, where the next token goes.
        places: `[B, S]` int32, which token of its row a slot holds, counted from 1; 0
            for none.
    """

    keys: tuple[Any, ...]
    values: tuple[Any, ...]
    slot: Any
    places: Any


class LayeredDecoder(Decoder, ABC):
    """Decodes a transformer by the weights of its KerasHub layers.

    KerasHub keeps one cache for all layers and takes it apart and puts it together in
    each of them; XLA then copies all of it several times for each token. Here every
    layer has its own, which XLA updates in place. A row's place in its text is its own
    as well, so that no row waits for a longer prompt. Abstract: a subclass knows the
    parts of one family's layers.

    The layers' parts are private to KerasHub: `decoder_for` compares the features with
    the model's, and drops a decoder where they differ.

    Args:
        trunk: The language model.
        write: How a slot of the cache is filled. Defaults to `slots.put`.
    """

    def __init__(self, trunk: LanguageTrunk, write: Put = put) -> None:
        self.trunk = trunk
        self.write = write
        self.backbone: Any = trunk.causal_lm.backbone

    @abstractmethod
    def embedded(self, tokens: tf.Tensor, places: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """Embeds tokens.

        Args:
            tokens: `[B, L]` integers.
            places: `[B, L]` int32, or `[1, L]`: their places in the text, from 0 on.

        Returns:
            Features `[B, L, F]`, and what `projections` needs of the places.
        """

    @abstractmethod
    def projections(
        self, layer: Any, hidden: tf.Tensor, turned: Any
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns queries `[B, H, L, D]`, keys and values `[B, K, L, D]` of a layer.

        K divides H: each key is that of H / K queries that follow each other.
        """

    @abstractmethod
    def merged(self, layer: Any, hidden: tf.Tensor, mixed: tf.Tensor) -> tf.Tensor:
        """Returns what a layer makes of its input and of what attention mixed.

        Args:
            layer: The layer.
            hidden: `[B, L, F]`, its input.
            mixed: `[B, L, H, D]`.
        """

    def window(self, layer: Any) -> int | None:
        """Returns how many tokens a layer sees, itself included; `None` for all."""
        return None

    def start(
        self, prompts: tf.Tensor, lengths: tf.Tensor, new_tokens: int
    ) -> tuple[tf.Tensor, LayerCache]:
        """See `Decoder.start`."""
        room = sizes(prompts)[1]
        places = tf.range(room)[tf.newaxis]
        own = tf.where(places < lengths[:, tf.newaxis], places + 1, 0)
        hidden, turned = self.embedded(prompts, places)
        caches: list[tuple[Any, Any]] = []
        for layer in self.backbone.transformer_layers:
            queries, keys, values = self.projections(layer, hidden, turned)
            seen = self._seen(layer, places + 1, own)
            hidden = self.merged(layer, hidden, _mixed(queries, keys, values, seen))
            caches.append((keys, values))
        last = tf.gather(hidden, lengths - 1, batch_dims=1)
        keys, values = zip(*caches, strict=True)
        return self.backbone.layer_norm(last), LayerCache(
            tuple(widened(part, new_tokens, axis=2) for part in keys),
            tuple(widened(part, new_tokens, axis=2) for part in values),
            tf.convert_to_tensor(room),
            widened(own, new_tokens, axis=1),
        )

    def advance(
        self, tokens: tf.Tensor, step: tf.Tensor, lengths: tf.Tensor, cache: LayerCache
    ) -> tuple[tf.Tensor, LayerCache]:
        """See `Decoder.advance`."""
        cache = LayerCache(*cache)
        place = (lengths + step)[:, tf.newaxis]
        new_slot = tf.range(sizes(cache.places)[1]) == cache.slot
        places = tf.where(new_slot, place + 1, cache.places)
        hidden, turned = self.embedded(tokens[:, tf.newaxis], place)
        caches: list[tuple[Any, Any]] = []
        layers = self.backbone.transformer_layers
        for layer, *past in zip(layers, cache.keys, cache.values, strict=True):
            queries, *new = self.projections(layer, hidden, turned)
            keys, values = (
                self.write(old, update, cache.slot, 2)
                for old, update in zip(past, new, strict=True)
            )
            seen = self._seen(layer, place + 1, places)
            hidden = self.merged(layer, hidden, _mixed(queries, keys, values, seen))
            caches.append((keys, values))
        keys, values = zip(*caches, strict=True)
        features = self.backbone.layer_norm(hidden[:, 0])
        return features, LayerCache(keys, values, cache.slot + 1, places)

    def _seen(self, layer: Any, own: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        """Returns bool `[B, L, S]`: the slots that tokens at their own places see."""
        own, places = own[:, :, tf.newaxis], places[:, tf.newaxis]
        seen = (places > 0) & (places <= own)
        window = self.window(layer)
        return seen if window is None else seen & (places > own - window)


def _mixed(
    queries: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, seen: tf.Tensor
) -> tf.Tensor:
    """Attends.

    Args:
        queries: `[B, H, L, D]`.
        keys: `[B, K, S, D]`.
        values: `[B, K, S, D]`.
        seen: bool `[B, L, S]`.

    Returns:
        `[B, L, H, D]`.
    """
    batch_size, heads, length, size = sizes(queries)
    _, groups, slots, _ = sizes(keys)
    # The queries of a key follow each other, as if they were one query's tokens.
    together = [batch_size, groups, heads // groups * length, size]
    scaled = tf.reshape(queries / math.sqrt(size), together)
    scores = tf.matmul(scaled, keys, transpose_b=True)
    apart = [batch_size, groups, heads // groups, length, slots]
    seen = seen[:, tf.newaxis, tf.newaxis]
    scores = tf.where(seen, tf.reshape(scores, apart), scores.dtype.min)
    weights = tf.reshape(tf.nn.softmax(scores), [*together[:3], slots])
    mixed = tf.reshape(tf.matmul(weights, values), [batch_size, heads, length, size])
    return tf.transpose(mixed, [0, 2, 1, 3])
