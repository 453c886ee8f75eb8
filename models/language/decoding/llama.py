"""The Llama family read token by token, several times as fast as KerasHub reads it."""

from __future__ import annotations

import tensorflow as tf
from keras.layers import Layer
from typing_extensions import override

from kpg.models.language.decoding.dense import applied
from kpg.models.language.decoding.per_layer_cache import LayeredDecoder, Projections
from kpg.types import Nest, Tensor


class LlamaDecoder(LayeredDecoder):
    """Decodes Llama 2 and 3, SmolLM, SmolLM2, Mistral with its window, and Qwen 2.

    Groups of queries share a key, places rotate queries and keys, and layers are gated
    and normalised by the root mean square. A window includes the token itself.

    References: Touvron et al. (2023), https://arxiv.org/abs/2302.13971; Su et al.
    (2021), https://arxiv.org/abs/2104.09864; Ainslie et al. (2023),
    https://arxiv.org/abs/2305.13245; Jiang et al., https://arxiv.org/abs/2310.06825.
    """

    norm = "_self_attention_layernorm"

    @override
    def embedded(self, tokens: Tensor, places: Tensor) -> tuple[Tensor, Nest]:
        """A place is an angle for each pair of features, the same in all layers.

        Its cosines and sines, `[B, 1, L, D / 2]`, are the second result.
        """
        attention = self.backbone.transformer_layers[0]._self_attention_layer
        size = attention._query_dense.kernel.shape[-1]
        frequencies = attention.rotary_embedding_layer._get_inverse_freq(size)
        angles = tf.cast(places, tf.float32)[:, tf.newaxis, :, tf.newaxis] * frequencies
        hidden = self.backbone.token_embedding(tokens)
        turned = (tf.cos(angles), tf.sin(angles))
        return hidden, tf.nest.map_structure(lambda t: tf.cast(t, hidden.dtype), turned)

    @override
    def projections(self, layer: Layer, hidden: Tensor, turned: Nest) -> Projections:
        queries, keys, values = super().projections(layer, hidden, turned)
        return _turned(queries, *turned), _turned(keys, *turned), values

    @override
    def merged(self, layer: Layer, hidden: Tensor, mixed: Tensor) -> Tensor:
        """A gate is computed in single precision."""
        hidden += applied(layer._self_attention_layer._output_dense, mixed)
        inputs = layer._feedforward_layernorm(hidden)
        gates = tf.cast(applied(layer._feedforward_gate_dense, inputs), tf.float32)
        gates = tf.cast(layer.activation(gates), hidden.dtype)
        inner = applied(layer._feedforward_intermediate_dense, inputs) * gates
        return hidden + applied(layer._feedforward_output_dense, inner)

    @override
    def window(self, layer: Layer) -> int | None:
        """Mistral has one, and Qwen may have one."""
        if not getattr(layer, "use_sliding_window_attention", True):
            return None
        sizes = ("sliding_window", "sliding_window_size")
        return next((getattr(layer, n) for n in sizes if hasattr(layer, n)), None)


def _turned(vectors: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotates vectors `[B, H, L, D]`: pair i holds the features i and i + D / 2."""
    first, second = tf.split(vectors, 2, axis=-1)
    return tf.concat(
        [first * cosines - second * sines, second * cosines + first * sines], axis=-1
    )
