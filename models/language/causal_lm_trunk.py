"""A causal language model as what a policy and its critic share."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg.language.tokenizers.codec import Tokens
from kpg.models.language.text_trunk import Count, State, TextTrunk
from kpg.types import Tensor


@keras.saving.register_keras_serializable(package="kpg")
class LanguageTrunk(TextTrunk):
    """Reads a prompt and what follows it as one text, with a `CausalLM` of KerasHub."""

    argument = "causal_lm"
    reader = "call_with_cache"
    wanted = (
        "A `CausalLMPolicy` needs a CausalLM of keras_nlp, such as keras_nlp.models."
        "GPT2CausalLM; for a Seq2SeqLM use `kpg.models.Seq2SeqLMPolicy`"
    )

    @property
    def causal_lm(self) -> keras.Model:
        """The model."""
        return self.lm

    @override
    def call(self, tokens: Tensor) -> Tensor:
        """Returns features `[B, L, F]` behind tokens `[B, L]`, each after its past."""
        if tokens.shape[1] == 1:
            # Keras warns of a softmax over a single score, which a lone token has.
            return self.call(tf.pad(tokens, [[0, 0], [0, 1]]))[:, :1]
        inputs = {"token_ids": tokens, "padding_mask": tf.ones_like(tokens)}
        return self.lm.backbone(inputs, training=False)

    @override
    def project(self, features: Tensor) -> Tensor:
        return self.lm.backbone.token_embedding(features, reverse=True)

    @override
    def begin(self, prompts: Tokens, lengths: Tokens) -> tuple[Tokens, State]:
        """The last token of a prompt is observed first."""
        before = lengths - 1
        first = prompts[np.arange(len(before)), before]
        history = prompts[:, :-1]
        known = np.arange(history.shape[1]) < before[:, np.newaxis]
        return first, (np.where(known, history, 0), before)

    @override
    def has_room(self, prompt_tokens: Count, new_tokens: Count) -> bool | Tensor:
        return self.max_tokens is None or prompt_tokens + new_tokens <= self.max_tokens

    @property
    @override
    def room(self) -> str:
        return (
            f"Prompt and completion must have at most {self.max_tokens} tokens together"
        )

    @override
    def behind(self, texts: Tensor, lengths: Tensor, prompts: Tensor) -> Tensor:
        return tf.gather(self(texts), lengths - 1, batch_dims=1)

    @property
    @override
    def state_spec(self) -> tuple[tf.TensorSpec, ...]:
        """A text, padded, and its length."""
        return tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32)

    @override
    def initial_state(self, batch_size: int | Tensor) -> State:
        return tf.zeros([batch_size, 0], tf.int32), tf.zeros([batch_size], tf.int32)
