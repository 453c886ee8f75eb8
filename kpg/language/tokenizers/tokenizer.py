"""What kpg asks of a tokenizer, and what its own tokenizers share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import keras
import tensorflow as tf
from typing_extensions import Self, override

from kpg.types import Config, Tensor

FIRST_BYTE = 2


class Tokenizer(Protocol):
    """Strings to tokens and back, by operations that a graph can hold.

    A `pad_token_id` is optional; without one, padding is 0.
    """

    @property
    def end_token_id(self) -> int:
        """The token that ends a text."""
        ...

    def vocabulary_size(self) -> int:
        """Returns the number of tokens."""
        ...

    def tokenize(self, inputs: Tensor, /) -> Tensor:
        """Returns the tokens of `[B]` strings, ragged `[B, None]`."""
        ...

    def detokenize(self, inputs: Tensor, /) -> Tensor:
        """Returns `[B]` strings of ragged `[B, None]` tokens."""
        ...


class GraphTokenizer(ABC):
    """Strings to tokens and back, by operations that TensorFlow Serving has.

    `texts` are V byte strings, what each token stands for. One implementation serves
    eager calls and graphs; it needs no file.
    """

    pad_token_id: int = 0
    end_token_id: int = 1

    def __init__(self, texts: Sequence[bytes]) -> None:
        self.texts = texts

    def vocabulary_size(self) -> int:
        """Returns the number of tokens, V."""
        return len(self.texts)

    @abstractmethod
    def tokenize(self, texts: Tensor) -> tf.RaggedTensor:
        """Returns tokens `[B, (length)]` int32, without an end, of `[B]` UTF-8."""

    def detokenize(self, tokens: Tensor) -> tf.Tensor:
        """Returns the text of each row of tokens, `[B]` strings.

        Tokens `[B, (length)]` may be ragged or not; those without a text, or unknown to
        the tokenizer, are skipped. What is not valid UTF-8 becomes U+FFFD.
        """
        if not isinstance(tokens, tf.RaggedTensor):
            tokens = tf.RaggedTensor.from_tensor(tokens)
        # A model may have more tokens than its tokenizer.
        known = (tokens >= 0) & (tokens < len(self.texts))
        table = tf.constant(self.texts, tf.string)
        parts = tf.gather(table, tf.ragged.boolean_mask(tokens, known))
        texts = tf.strings.reduce_join(parts, axis=-1)
        return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")

    def get_config(self) -> Config:
        """Returns the arguments."""
        return {}

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Makes the tokenizer that `get_config` described."""
        return cls(**config)


def bytes_of(texts: Tensor) -> tf.RaggedTensor:
    """Returns the bytes of `[B]` strings, `[B, (length)]` int32."""
    characters = tf.strings.bytes_split(texts)
    codes = tf.io.decode_raw(characters.flat_values, tf.uint8)
    return characters.with_flat_values(tf.reshape(tf.cast(codes, tf.int32), [-1]))


# What the tokens of padding, of the end and of each byte stand for.
BYTES = [b"", b"", *(bytes([code]) for code in range(256))]


@keras.saving.register_keras_serializable(package="kpg")
class ByteTokenizer(GraphTokenizer):
    """One token for each byte of UTF-8, and two that stand for no byte.

    Token 0 pads (`pad_token_id`), token 1 ends a text (`end_token_id`), and token
    `2 + b` is the byte `b`: 258 in all.
    """

    def __init__(self) -> None:
        super().__init__(BYTES)

    @override
    def tokenize(self, texts: Tensor) -> tf.RaggedTensor:
        return bytes_of(tf.convert_to_tensor(texts, tf.string)) + FIRST_BYTE
