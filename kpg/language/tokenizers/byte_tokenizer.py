"""A tokenizer of bytes, made of TensorFlow's own operations."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

_FIRST_BYTE = 2


@keras.saving.register_keras_serializable(package="kpg")
class ByteTokenizer:
    """One token for each byte of UTF-8, and two that stand for none.

    Token 0 pads, token 1 ends a text, and token `2 + b` is the byte `b`. It needs no
    vocabulary file, and its graph holds no operation that TensorFlow Serving, or a
    client without tensorflow-text, would not know.

    Example:
        >>> kpg.text.ByteTokenizer().tokenize(["hi"]).to_list()
        [[106, 107]]

    Attributes:
        pad_token_id: 0.
        end_token_id: 1.
    """

    pad_token_id = 0
    end_token_id = 1

    def vocabulary_size(self) -> int:
        """Returns the number of tokens, 258."""
        return _FIRST_BYTE + 256

    def tokenize(self, texts: Any) -> tf.RaggedTensor:
        """Returns the tokens of each text.

        Args:
            texts: `[B]` strings.

        Returns:
            `[B, (length)]` int32, without an end token.
        """
        characters = tf.strings.bytes_split(tf.convert_to_tensor(texts, tf.string))
        codes = tf.io.decode_raw(characters.flat_values, tf.uint8)
        tokens = tf.reshape(tf.cast(codes, tf.int32) + _FIRST_BYTE, [-1])
        return characters.with_flat_values(tokens)

    def detokenize(self, tokens: Any) -> tf.Tensor:
        """Returns the text of each row of tokens.

        Args:
            tokens: `[B, (length)]` integers, ragged or not; those that stand for no
                byte are skipped.

        Returns:
            `[B]` strings of valid UTF-8: what is not becomes U+FFFD.
        """
        if not isinstance(tokens, tf.RaggedTensor):
            tokens = tf.RaggedTensor.from_tensor(tokens)
        # A model may know more tokens than this tokenizer.
        own = (tokens >= _FIRST_BYTE) & (tokens < self.vocabulary_size())
        tokens = tf.ragged.boolean_mask(tokens, own)
        table = tf.constant([bytes([code]) for code in range(256)])
        characters = tf.gather(table, tf.cast(tokens, tf.int32) - _FIRST_BYTE)
        texts = tf.strings.reduce_join(characters, axis=-1)
        return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")

    def get_config(self) -> dict[str, Any]:
        """Returns no arguments."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ByteTokenizer:
        """Makes the tokenizer that `get_config` described."""
        return cls(**config)
