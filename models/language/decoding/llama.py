"""The Llama family read token by token, several times as fast as by KerasHub."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from kpg.models.language.decoding.per_layer_cache import LayeredDecoder


class LlamaDecoder(LayeredDecoder):
    """Decodes Llama and what is built like it; see `LayeredDecoder`.

    That is Llama 2 and 3, SmolLM and SmolLM2, Mistral with its window, and Qwen 2:
    groups of queries that share a key, places that rotate queries and keys, root mean
    square normalisation and gated layers.

    References: Touvron et al., "Llama: open and efficient foundation language models"
    (2023), https://arxiv.org/abs/2302.13971; Su et al., "RoFormer" (2021),
    https://arxiv.org/abs/2104.09864; Ainslie et al., "GQA" (2023),
    https://arxiv.org/abs/2305.13245; Jiang et al., "Mistral 7B" (2023),
    https://arxiv.org/abs/2310.06825, whose window of W tokens is itself and W − 1
    before.
    """

    def embedded(self, tokens: tf.Tensor, places: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """See `LayeredDecoder.embedded`; a place is an angle for each pair of features.

        The layers share their angles, whose cosines and sines `[B, 1, L, D / 2]` are
        the second result.
        """
        attention = self.backbone.transformer_layers[0]._self_attention_layer
        size = attention._query_dense.kernel.shape[-1]
        frequencies = attention.rotary_embedding_layer._get_inverse_freq(size)
        angles = tf.cast(places, tf.float32)[:, tf.newaxis, :, tf.newaxis] * frequencies
        hidden = self.backbone.token_embedding(tokens)
        turned = (tf.cos(angles), tf.sin(angles))
        return hidden, tf.nest.map_structure(lambda t: tf.cast(t, hidden.dtype), turned)

    def projections(
        self, layer: Any, hidden: tf.Tensor, turned: Any
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """See `LayeredDecoder.projections`."""
        attention = layer._self_attention_layer
        inputs = layer._self_attention_layernorm(hidden)
        denses = (attention._query_dense, attention._key_dense, attention._value_dense)
        queries, keys, values = (
            tf.transpose(dense(inputs), [0, 2, 1, 3]) for dense in denses
        )
        return _turned(queries, *turned), _turned(keys, *turned), values

    def merged(self, layer: Any, hidden: tf.Tensor, mixed: tf.Tensor) -> tf.Tensor:
        """See `LayeredDecoder.merged`; a gate is computed in single precision."""
        hidden += layer._self_attention_layer._output_dense(mixed)
        inputs = layer._feedforward_layernorm(hidden)
        gates = tf.cast(layer._feedforward_gate_dense(inputs), tf.float32)
        gates = tf.cast(layer.activation(gates), hidden.dtype)
        inner = layer._feedforward_intermediate_dense(inputs) * gates
        return hidden + layer._feedforward_output_dense(inner)

    def window(self, layer: Any) -> int | None:
        """See `LayeredDecoder.window`; Mistral has one, and Qwen may have one."""
        if not getattr(layer, "use_sliding_window_attention", True):
            return None
        sizes = ("sliding_window", "sliding_window_size")
        return next((getattr(layer, n) for n in sizes if hasattr(layer, n)), None)


def _turned(vectors: tf.Tensor, cosines: tf.Tensor, sines: tf.Tensor) -> tf.Tensor:
    """Rotates vectors `[B, H, L, D]`: pair i is of the features i and i + D / 2."""
    first, second = tf.split(vectors, 2, axis=-1)
    return tf.concat(
        [first * cosines - second * sines, second * cosines + first * sines], axis=-1
    )
