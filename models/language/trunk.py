"""A causal language model as what a policy and its critic share."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from kpg.models.language.slots import sizes

State = tuple[tf.Tensor, tf.Tensor]


class LanguageTrunk(keras.layers.Layer):
    """Reads texts and gives the features behind each token.

    The state is the text that was read so far: its tokens `[B, S]`, of which the first
    `[B]` are the text and the rest is padding. Dropout is always off, so that what an
    update compares with is what was sampled from.

    Args:
        causal_lm: A `CausalLM` of keras_nlp, or of keras_hub.

    Attributes:
        causal_lm: The model.
        vocabulary_size: V, tokens that it knows.
        width: F, features behind a token.
        max_tokens: Longest text, or `None` if the model has no limit of its own.

    Raises:
        ValueError: If the model is of another kind.
    """

    def __init__(self, causal_lm: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        backbone: Any = getattr(causal_lm, "backbone", None)
        known = callable(getattr(causal_lm, "call_with_cache", None))
        if not known or not hasattr(backbone, "token_embedding"):
            raise ValueError(
                "A language policy needs a CausalLM of keras_nlp, such as "
                "keras_nlp.models.GPT2CausalLM. Received: "
                f"{type(causal_lm).__name__}"
            )
        self.causal_lm = causal_lm
        self.vocabulary_size = int(backbone.vocabulary_size)
        self.width = int(backbone.hidden_dim)
        limit = getattr(backbone, "max_sequence_length", None)
        self.max_tokens = None if limit is None else int(limit)
        self.built = True

    @property
    def exact(self) -> bool:
        """Whether the model computes in single precision or better."""
        return self.causal_lm.backbone.compute_dtype in ("float32", "float64")

    def call(self, tokens: tf.Tensor) -> tf.Tensor:
        """Returns features `[B, L, F]` behind tokens `[B, L]`, each after its past."""
        if tokens.shape[1] == 1:
            # Keras warns of a softmax over a single score, which a lone token has.
            return self.call(tf.pad(tokens, [[0, 0], [0, 1]]))[:, :1]
        inputs = {"token_ids": tokens, "padding_mask": tf.ones_like(tokens)}
        return self.causal_lm.backbone(inputs, training=False)

    def logits(self, features: tf.Tensor) -> tf.Tensor:
        """Returns float32 logits `[..., V]` of the token after `[..., F]`."""
        flat = tf.reshape(features, [-1, 1, self.width])
        logits = self.causal_lm.backbone.token_embedding(flat, reverse=True)
        shape = [*sizes(features)[:-1], self.vocabulary_size]
        return tf.cast(tf.reshape(logits, shape), tf.float32)

    def unroll(self, observations: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Reads on, T tokens in one forward pass.

        Args:
            observations: `[T, B]` integers, the tokens.
            state: Of the text before them.

        Returns:
            Features `[T, B, F]` behind each token, and the states after each: `[T, B,
            S + T]` and `[T, B]`.
        """
        history, lengths = state
        fed = tf.transpose(tf.cast(observations, tf.int32))
        steps = tf.range(sizes(fed)[1])
        # The tokens go right behind the text, and each row's padding behind them.
        room = tf.pad(history, [[0, 0], [0, sizes(fed)[1]]])
        slots = tf.range(sizes(room)[1])
        turns = slots - lengths[:, tf.newaxis]
        own = tf.gather(fed, tf.clip_by_value(turns, 0, steps[-1]), batch_dims=1)
        tokens = tf.where(turns < 0, room, own)
        places = lengths[:, tf.newaxis] + steps
        features = tf.gather(self(tokens), places, batch_dims=1)
        after = tf.transpose(places) + 1
        texts = tf.where(slots < after[..., tf.newaxis], tokens, 0)
        return tf.transpose(features, [1, 0, 2]), (texts, after)
