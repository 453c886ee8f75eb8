"""GPT-2 read token by token, several times as fast as KerasHub reads it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import tensorflow as tf

from kpg.models.language.slots import Put, put, sizes, widened
from kpg.models.language.trunk import LanguageTrunk


class GPT2Cache(NamedTuple):
    """What attention needs of the past.

    Attributes:
        keys: For each layer `[B, H, S, D]`: S slots, first those of the prompts with
            their padding, then one for each step.
        values: As `keys`.
        slot: Scalar int32, where the next token goes.
        visible: `[B, S]` bool, slots that hold a token of the row.
    """

    keys: tuple[Any, ...]
    values: tuple[Any, ...]
    slot: Any
    visible: Any


class GPT2Decoder:
    """Decodes a GPT-2 by the weights of its KerasHub layers.

    KerasHub keeps one cache for all layers and takes it apart and puts it together in
    each of them; XLA then copies all of it several times for each token. Here every
    layer has its own, which XLA updates in place. A row's place in its text is its own
    as well, so that no row waits for a longer prompt.

    The layers' parts are private to KerasHub: `decoder_for` compares the features with
    the model's, and drops this decoder where they differ.

    Args:
        trunk: A language model with a `GPT2Backbone`.
        write: How a slot of the cache is filled. Defaults to `slots.put`.
    """

    def __init__(self, trunk: LanguageTrunk, write: Put = put) -> None:
        self.trunk = trunk
        self.write = write
        self.backbone: Any = trunk.causal_lm.backbone
        self.head_size = self.backbone.hidden_dim // self.backbone.num_heads

    def num_steps(self, prompt_room: int, new_tokens: int) -> int:
        """See `Decoder.num_steps`."""
        return new_tokens

    def offsets(self, lengths: tf.Tensor) -> tf.Tensor:
        """See `Decoder.offsets`."""
        return tf.zeros_like(lengths)

    def start(
        self, prompts: tf.Tensor, lengths: tf.Tensor, new_tokens: int
    ) -> tuple[tf.Tensor, GPT2Cache]:
        """See `Decoder.start`."""
        room = sizes(prompts)[1]
        places = tf.range(room)
        earlier = places <= places[:, tf.newaxis]
        hidden = self._embedded(prompts, places)
        caches: list[tuple[Any, Any]] = []
        for layer in self.backbone.transformer_layers:
            queries, keys, values = self._projections(layer, hidden)
            hidden = self._rest(layer, hidden, queries, keys, values, earlier)
            caches.append((keys, values))
        last = tf.gather(hidden, lengths - 1, batch_dims=1)
        keys, values = zip(*caches, strict=True)
        visible = places < lengths[:, tf.newaxis]
        return self.backbone.layer_norm(last), GPT2Cache(
            tuple(widened(part, new_tokens, axis=2) for part in keys),
            tuple(widened(part, new_tokens, axis=2) for part in values),
            tf.convert_to_tensor(room),
            widened(visible, new_tokens, axis=1),
        )

    def advance(
        self, tokens: tf.Tensor, step: tf.Tensor, lengths: tf.Tensor, cache: GPT2Cache
    ) -> tuple[tf.Tensor, GPT2Cache]:
        """See `Decoder.advance`."""
        cache = GPT2Cache(*cache)
        places = (lengths + step)[:, tf.newaxis]
        hidden = self._embedded(tokens[:, tf.newaxis], places)
        visible = cache.visible | (tf.range(sizes(cache.visible)[1]) == cache.slot)
        seen = visible[:, tf.newaxis, tf.newaxis]
        caches: list[tuple[Any, Any]] = []
        layers = self.backbone.transformer_layers
        for layer, *past in zip(layers, cache.keys, cache.values, strict=True):
            queries, *new = self._projections(layer, hidden)
            keys, values = (
                self.write(old, update, cache.slot, 2)
                for old, update in zip(past, new, strict=True)
            )
            hidden = self._rest(layer, hidden, queries, keys, values, seen)
            caches.append((keys, values))
        keys, values = zip(*caches, strict=True)
        features = self.backbone.layer_norm(hidden[:, 0])
        return features, GPT2Cache(keys, values, cache.slot + 1, visible)

    def _embedded(self, tokens: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        """Returns `[B, L, F]` of tokens `[B, L]` at their places in the text."""
        table = self.backbone.position_embedding.position_embeddings
        positions = tf.gather(tf.convert_to_tensor(table), places)
        embedded = self.backbone.token_embedding(tokens)
        return embedded + tf.cast(positions, embedded.dtype)

    def _projections(self, layer: Any, hidden: tf.Tensor) -> tuple[Any, Any, Any]:
        """Returns queries, keys and values `[B, H, L, D]`."""
        attention = layer._self_attention_layer
        inputs = layer._self_attention_layer_norm(hidden)
        denses = (attention._query_dense, attention._key_dense, attention._value_dense)
        queries, keys, values = (
            tf.transpose(dense(inputs), [0, 2, 1, 3]) for dense in denses
        )
        return queries, keys, values

    def _rest(
        self,
        layer: Any,
        hidden: tf.Tensor,
        queries: tf.Tensor,
        keys: tf.Tensor,
        values: tf.Tensor,
        seen: tf.Tensor,
    ) -> tf.Tensor:
        """Attends, and does what comes behind attention in a layer.

        Args:
            layer: KerasHub's `TransformerDecoder`, which normalises first.
            hidden: `[B, L, F]`, the layer's input.
            queries: `[B, H, L, D]`.
            keys: `[B, H, S, D]`.
            values: `[B, H, S, D]`.
            seen: bool, of the rank or less of `[B, H, L, S]`.
        """
        scale = 1.0 / math.sqrt(self.head_size)
        scores = tf.matmul(queries * scale, keys, transpose_b=True)
        weights = tf.nn.softmax(tf.where(seen, scores, scores.dtype.min))
        mixed = tf.transpose(tf.matmul(weights, values), [0, 2, 1, 3])
        hidden += layer._self_attention_layer._output_dense(mixed)
        inputs = layer._feedforward_layer_norm(hidden)
        inner = layer._feedforward_intermediate_dense(inputs)
        return hidden + layer._feedforward_output_dense(inner)
