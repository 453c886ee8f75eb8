"""A transformer as a memory: attention to the last steps of an episode."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from kpg.models.backbones import layer_seeds


class AttentionCell(keras.layers.Layer):
    """A transformer block that sees a window of an episode, as a Keras cell.

    It remembers its last embedded inputs, not its own outputs: a step costs attention
    to the window, and a state of zeros has seen nothing. Normalisation comes before
    each layer, and each age in the window has an embedding.

    References: Vaswani et al., "Attention is all you need" (2017),
    https://arxiv.org/abs/1706.03762; Xiong et al., "On layer normalization in the
    transformer architecture" (2020), https://arxiv.org/abs/2002.04745; Parisotto et
    al., "Stabilizing transformers for reinforcement learning" (2019),
    https://arxiv.org/abs/1910.06764, which remembers a window as well.

    Args:
        units: Width U, ≥ 1; four heads if U is a multiple of 4, otherwise one.
        steps: Number W of steps before the present one that it sees, ≥ 1.
        seed: Seed of the initial weights, or `None` for a random one.
    """

    def __init__(self, units: int, steps: int, seed: int | None) -> None:
        super().__init__()
        self.units, self.steps = units, steps
        self.heads = 4 if units % 4 == 0 else 1
        # The output, the window, and which of its steps exist.
        self.state_size = [units, steps * units, steps]
        self.output_size = units
        seeds = layer_seeds(seed)

        def dense(
            width: int, activation: str | None = None, use_bias: bool = True
        ) -> keras.layers.Dense:
            initializer = keras.initializers.GlorotUniform(seed=next(seeds))
            return keras.layers.Dense(
                width, activation, use_bias, kernel_initializer=initializer
            )

        self.embed, self.queries, self.values = (dense(units) for _ in range(3))
        # A bias would add the same number to every score.
        self.keys = dense(units, use_bias=False)
        self.merge = dense(units)
        self.widen, self.narrow = dense(4 * units, "gelu"), dense(units)
        self.norms = [keras.layers.LayerNormalization() for _ in range(3)]
        self._ages_initializer = keras.initializers.RandomNormal(0.02, seed=next(seeds))

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Makes the weights."""
        wide, own = (None, 4 * self.units), (None, self.units)
        self.embed.build(input_shape)
        self.narrow.build(wide)
        for layer in (self.queries, self.keys, self.values, self.merge, self.widen):
            layer.build(own)
        for norm in self.norms:
            norm.build(own)
        self.ages = self.add_weight(
            shape=(self.steps + 1, self.units),
            initializer=self._ages_initializer,
            name="ages",
        )
        self.built = True

    def call(
        self, inputs: tf.Tensor, states: Sequence[tf.Tensor], training: bool = False
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Returns the output `[B, U]` of inputs `[B, F]`, and the next states."""
        _, window, known = states
        now = self.embed(inputs)[:, tf.newaxis]
        past = tf.reshape(window, [-1, self.steps, self.units])
        steps = tf.concat([tf.cast(past, now.dtype), now], axis=1)
        known = tf.concat([known, tf.ones_like(known[:, :1])], axis=1)
        hidden = now[:, 0] + self.merge(self._mixed(steps, known > 0.5))
        hidden += self.narrow(self.widen(self.norms[1](hidden)))
        output = self.norms[2](hidden)
        window = tf.reshape(steps[:, 1:], [-1, self.steps * self.units])
        return output, [output, window, known[:, 1:]]

    def _mixed(self, steps: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
        """Returns `[B, U]`: what the last of `[B, W + 1, U]` sees in the known ones."""
        normed = self.norms[0](steps + tf.cast(self.ages, steps.dtype))
        size = self.units // self.heads

        def by_head(rows: tf.Tensor) -> tf.Tensor:
            return tf.reshape(rows, [-1, rows.shape[1], self.heads, size])

        queries = by_head(self.queries(normed[:, -1:]))[:, 0] / math.sqrt(size)
        keys, values = by_head(self.keys(normed)), by_head(self.values(normed))
        scores = tf.einsum("bhd,bwhd->bhw", queries, keys)
        scores = tf.where(known[:, tf.newaxis], scores, scores.dtype.min)
        mixed = tf.einsum("bhw,bwhd->bhd", tf.nn.softmax(scores), values)
        return tf.reshape(mixed, [-1, self.units])
