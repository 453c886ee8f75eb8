"""GPT-2 read token by token, several times as fast as KerasHub reads it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from kpg.models.language.decoding.per_layer_cache import LayeredDecoder


class GPT2Decoder(LayeredDecoder):
    """Decodes a language model with a `GPT2Backbone`; see `LayeredDecoder`."""

    def embedded(self, tokens: tf.Tensor, places: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """See `LayeredDecoder.embedded`; a place is an embedding that is added."""
        table = self.backbone.position_embedding.position_embeddings
        positions = tf.gather(tf.convert_to_tensor(table), places)
        embedded = self.backbone.token_embedding(tokens)
        return embedded + tf.cast(positions, embedded.dtype), None

    def projections(
        self, layer: Any, hidden: tf.Tensor, turned: Any
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """See `LayeredDecoder.projections`; K is H."""
        attention = layer._self_attention_layer
        inputs = layer._self_attention_layer_norm(hidden)
        denses = (attention._query_dense, attention._key_dense, attention._value_dense)
        queries, keys, values = (
            tf.transpose(dense(inputs), [0, 2, 1, 3]) for dense in denses
        )
        return queries, keys, values

    def merged(self, layer: Any, hidden: tf.Tensor, mixed: tf.Tensor) -> tf.Tensor:
        """See `LayeredDecoder.merged`; the layer normalises first."""
        hidden += layer._self_attention_layer._output_dense(mixed)
        inputs = layer._feedforward_layer_norm(hidden)
        inner = layer._feedforward_intermediate_dense(inputs)
        return hidden + layer._feedforward_output_dense(inner)
