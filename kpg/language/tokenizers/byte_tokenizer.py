"""A tokenizer of bytes."""

from __future__ import annotations

import keras
import tensorflow as tf
from typing_extensions import override

from kpg.language.tokenizers.tokenizer import GraphTokenizer, bytes_of
from kpg.types import Tensor

_FIRST_BYTE = 2


@keras.saving.register_keras_serializable(package="kpg")
class ByteTokenizer(GraphTokenizer):
    """One token for each byte of UTF-8, and two that stand for no byte.

    Token 0 pads (`pad_token_id`), token 1 ends a text (`end_token_id`), and token
    `2 + b` is the byte `b`: 258 in all.
    """

    pad_token_id = 0
    end_token_id = 1

    def __init__(self) -> None:
        super().__init__([b"", b"", *(bytes([code]) for code in range(256))])

    @override
    def tokenize(self, texts: Tensor) -> tf.RaggedTensor:
        return bytes_of(tf.convert_to_tensor(texts, tf.string)) + _FIRST_BYTE
