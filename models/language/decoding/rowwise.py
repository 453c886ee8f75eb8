"""How an executor reads texts that begin and end at different times."""

from __future__ import annotations

from typing import Any, Protocol

import tensorflow as tf


class Executor(Protocol):
    """A language model that writes; `kpg.models.CausalLMPolicy` is one.

    Attributes:
        trunk: Reads texts: `trunk(tokens)` are features `[B, L, F]`; it has
            `vocabulary_size`, `width` and `causal_lm`.
        family: The distributions over tokens.
        tokenizer: With `end_token_id`.
        codec: The `kpg.text.Codec` of the tokenizer.
    """

    trunk: Any
    family: Any
    tokenizer: Any

    @property
    def codec(self) -> Any:
        """See `Executor`."""
        ...

    def decoder(self) -> Any:
        """Returns what reads texts token by token."""
        ...

    def outputs(self, features: tf.Tensor) -> tf.Tensor:
        """Returns float32 parameters `[..., V]` of the family."""
        ...

    def padded(self, prompts: Any) -> tuple[Any, Any]:
        """Returns the tokens of prompts `[B, P]`, padded, and how many."""
        ...

    def texts(self, rows: Any) -> list[str]:
        """Returns the text of each row of tokens, without its end."""
        ...

    def check_room(self, prompt_tokens: int, max_new_tokens: int) -> None:
        """Refuses texts that are longer than the model reads."""
        ...


def check_executor(executor: Any) -> None:
    """Refuses what cannot write texts, a model without a tokenizer for one.

    Raises:
        ValueError: If something is missing.
    """
    wanted = ("trunk", "family", "tokenizer", "codec", "decoder")
    missing = [name for name in wanted if not hasattr(executor, name)]
    if missing:
        raise ValueError(
            "An executor must be a language model with its tokenizer: "
            "`kpg.models.CausalLMPolicy(causal_lm, tokenizer)`. Received: "
            f"{type(executor).__name__} without {', '.join(missing)}"
        )
    if not hasattr(executor.trunk, "causal_lm"):
        raise ValueError(
            "An executor goes on with its texts, which a Seq2SeqLM does not; take a "
            f"`kpg.models.CausalLMPolicy`. Received: {type(executor).__name__}"
        )


class Reader(Protocol):
    """Reads B texts, each at its own place; every method builds graph."""

    def start(self, texts: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """Returns features `[B, F]` behind texts `[B, L]` of `[B]` tokens.

        The second result is what is remembered of them: a nest of tensors `[B, ...]`,
        and of numbers that all texts share.
        """
        ...

    def advance(
        self, memory: Any, tokens: tf.Tensor, lengths: tf.Tensor
    ) -> tuple[tf.Tensor, Any]:
        """Reads one more token `[B]` of each text, which had `[B]` tokens before."""
        ...


class CachedReader:
    """Reads with a decoder whose cache has a slot for each token, seen or not.

    The slots behind `room` are used in turns by all rows at once. No text needs more of
    them than it writes tokens, so none is overwritten while its row still sees it, and
    a row can begin a new text at any time: it sees what was then read, and nothing
    older.

    Args:
        decoder: A `Decoder` of `kpg.models` whose cache is a NamedTuple
            with `slot` and `places`; all its other leaves have rows.
        room: Tokens of the longest text that is given to `start`.
        new_tokens: T, tokens that `advance` adds to a text at most.
    """

    def __init__(self, decoder: Any, room: int, new_tokens: int) -> None:
        self.decoder = decoder
        self.room = room
        self.new_tokens = new_tokens

    def start(self, texts: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """See `Reader.start`."""
        empty = self.room + self.new_tokens - texts.shape[1]
        features, cache = self.decoder.start(texts, lengths, empty)
        return features, cache._replace(slot=tf.constant(self.room))

    def advance(
        self, memory: Any, tokens: tf.Tensor, lengths: tf.Tensor
    ) -> tuple[tf.Tensor, Any]:
        """See `Reader.advance`."""
        # A decoder's place in a text is `lengths + step`.
        step = tf.constant(0)
        features, memory = self.decoder.advance(tokens, step, lengths, memory)
        last = self.room + self.new_tokens
        slot = tf.where(memory.slot == last, self.room, memory.slot)
        return features, memory._replace(slot=slot)


class TextReader:
    """Reads the whole of every text again for each token, with any model.

    What it remembers is the texts.

    Args:
        trunk: Gives the features behind the tokens of texts.
        room: Tokens of the longest text.
    """

    def __init__(self, trunk: Any, room: int) -> None:
        self.trunk = trunk
        self.room = room

    def start(self, texts: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """See `Reader.start`."""
        texts = tf.pad(texts, [[0, 0], [0, self.room - texts.shape[1]]])
        return tf.gather(self.trunk(texts), lengths - 1, batch_dims=1), texts

    def advance(
        self, memory: Any, tokens: tf.Tensor, lengths: tf.Tensor
    ) -> tuple[tf.Tensor, Any]:
        """See `Reader.advance`."""
        here = tf.range(self.room) == lengths[:, tf.newaxis]
        texts = tf.where(here, tokens[:, tf.newaxis], memory)
        places = tf.minimum(lengths, self.room - 1)
        return tf.gather(self.trunk(texts), places, batch_dims=1), texts


def reader_for(
    executor: Executor, prompt_tokens: int, new_tokens: int, again: bool
) -> Reader:
    """Returns the fastest reader for an executor.

    Args:
        executor: The language model.
        prompt_tokens: Tokens of the longest prompt.
        new_tokens: Tokens of the longest completion.
        again: Whether `start` will be given prompts together with what followed.
    """
    decoder = executor.decoder()
    one = tf.ones([1, 1], tf.int32)
    _, cache = decoder.start(one, one[0], 1)
    if hasattr(cache, "slot") and hasattr(cache, "places"):
        room = prompt_tokens + again * new_tokens
        return CachedReader(decoder, room, new_tokens)
    return TextReader(executor.trunk, prompt_tokens + new_tokens)
