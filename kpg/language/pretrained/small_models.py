"""Small language models with random weights, which need no files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras_nlp


def gpt2(
    vocabulary_size: int,
    num_layers: int = 2,
    num_heads: int = 2,
    hidden_dim: int = 32,
    max_tokens: int = 128,
    seed: int | None = None,
) -> keras_nlp.models.GPT2CausalLM:
    """Makes a small GPT-2 with random weights, without a preprocessor.

    It has no dropout, whose noise would hide how an update changes probabilities.

    Reference: Radford et al., "Language models are unsupervised multitask learners"
    (2019); the deviations of the initial weights are those of its code,
    https://github.com/openai/gpt-2.

    Args:
        vocabulary_size: Number of tokens, ≥ 2.
        num_layers: Transformer blocks, ≥ 1. Defaults to 2.
        num_heads: Heads of each attention; a `ValueError` says if they do not divide
            `hidden_dim`. Defaults to 2.
        hidden_dim: Width of the model. Defaults to 32.
        max_tokens: Longest text, prompt and completion together. Defaults to 128.
        seed: Seed of the weights. Defaults to a random seed.
    """
    import keras_nlp

    if hidden_dim % num_heads:
        raise ValueError(
            "`num_heads` must divide `hidden_dim`. Received: "
            f"num_heads={num_heads}, hidden_dim={hidden_dim}"
        )
    backbone = keras_nlp.models.GPT2Backbone(
        vocabulary_size=vocabulary_size,
        num_layers=num_layers,
        num_heads=num_heads,
        hidden_dim=hidden_dim,
        intermediate_dim=4 * hidden_dim,
        max_sequence_length=max_tokens,
        dropout=0.0,
    )
    # KerasHub's initializers take no seed other than Keras's global one.
    random = np.random.default_rng(seed)
    for weight in backbone.trainable_weights:
        if weight.name in ("kernel", "embeddings", "position_embeddings"):
            weight.assign(random.normal(0.0, 0.02, weight.shape))
    return keras_nlp.models.GPT2CausalLM(backbone=backbone)
