"""Small sequence-to-sequence models for the tests of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras_nlp
import numpy as np
import tensorflow as tf

from kpg.models import Seq2SeqLMPolicy
from tests.texts import Letters, stirred

# BART's own: an end and a beginning in front of each target.
FRAMING = ((3,), (1,), (1, 3))


def bart(vocabulary_size: int, **options: Any) -> Any:
    """Returns a small BART with dropout, which nothing but `pretrain` must see."""
    small = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
    backbone = keras_nlp.models.BartBackbone(
        vocabulary_size, **{"max_sequence_length": 24, **small, **options}
    )
    return fixed(keras_nlp.models.BartSeq2SeqLM(backbone=backbone))


def t5(vocabulary_size: int, **options: Any) -> Any:
    """Returns a small T5, which knows places by their distance and has no limit."""
    small = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
    backbone = keras_nlp.models.T5Backbone(vocabulary_size, **{**small, **options})
    return fixed(keras_nlp.models.T5Seq2SeqLM(backbone=backbone))


def fixed(model: Any, scale: float = 0.4) -> Any:
    """Gives every weight the same values each time, which KerasHub draws anew."""
    random = np.random.default_rng(1)
    for weight in model.trainable_weights:
        factor = weight.name in ("gamma", "scale", "weight")
        weight.assign(random.normal(float(factor), scale, weight.shape))
    return model


def policy(letters: str = "abc", model: Any = None, **options: Any) -> Seq2SeqLMPolicy:
    """Returns a policy over letters whose critic knows something."""
    model = bart(2 + len(letters)) if model is None else model
    made = Seq2SeqLMPolicy(model, Letters(letters), **options)
    if made.critic is not None:
        stirred(made.critic.head)
    return made


def read_by(
    made: Seq2SeqLMPolicy, prompt: Sequence[int], completion: Sequence[int]
) -> tf.Tensor:
    """Returns logits `[length, V]`, by the KerasHub model alone and without padding."""
    before, after, start = made.trunk.framing
    source, target = ([*before, *prompt, *after], [*start, *completion])
    inputs = {"encoder_token_ids": source, "decoder_token_ids": target}
    inputs = {name: tf.constant([tokens]) for name, tokens in inputs.items()}
    for name in ("encoder", "decoder"):
        mask = tf.ones_like(inputs[f"{name}_token_ids"])
        inputs[f"{name}_padding_mask"] = mask
    return made.trunk.lm(inputs)[0, len(start) - 1 : -1]


def teacher_forced(
    made: Seq2SeqLMPolicy, prompt: Sequence[int], completion: Sequence[int]
) -> tf.Tensor:
    """Returns `[length]` log-probabilities, by the KerasHub model alone."""
    logits = read_by(made, prompt, completion) / made.temperature
    log_probs = tf.nn.log_softmax(logits)
    return tf.gather(log_probs, tf.constant(completion), batch_dims=1)
