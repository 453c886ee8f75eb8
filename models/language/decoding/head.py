"""The embeddings that every step multiplies by, prepared once for all steps."""

from __future__ import annotations

import contextlib
import math

import keras
import tensorflow as tf

from kpg.models.language.text_trunk import TextTrunk
from kpg.types import Tensor

# Of a larger table XLA's product with few rows takes longer turned than not, of
# 768 x 50,257 with 32 rows eight times as long; of 128 x 1,024 half as long.
_LARGEST = 2**21


def turned(trunk: TextTrunk) -> Tensor | None:
    """Returns embeddings `[F, V]` of a head that shares them with the tokens.

    XLA would turn `[V, F]` in each step. `None` if another tensor is the head, or if it
    is so large that this does not pay.
    """
    table = trunk.lm.backbone.token_embedding
    other = getattr(table, "lora_enabled", False) or table.quantization_mode
    if other or not getattr(table, "tie_weights", False):
        return None
    if math.prod(table.embeddings.shape) > _LARGEST:
        return None
    return tf.transpose(tf.convert_to_tensor(table.embeddings))


def with_turned(
    trunk: TextTrunk, embeddings: Tensor | None
) -> contextlib.AbstractContextManager[object]:
    """Within it, a trunk computes logits from what `turned` returned."""
    if embeddings is None:
        return contextlib.nullcontext()
    # The head turns them again, and XLA drops what undoes each other.
    weight = trunk.lm.backbone.token_embedding.embeddings
    pair = (weight, tf.transpose(embeddings))
    scope: contextlib.AbstractContextManager[object] = keras.StatelessScope([pair])
    return scope
