"""A sequence-to-sequence language model as what a policy and its critic share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg.language.tokenizers.codec import Tokens
from kpg.language.tokenizers.tokenizer import Tokenizer
from kpg.models.language.decoding.tables import sizes
from kpg.models.language.text_trunk import Count, State, TextTrunk
from kpg.types import Config, Tensor


class Framing(NamedTuple):
    """Tokens before and after a source; `start`, at least one, is before a target."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    start: tuple[int, ...]


def framing_of(seq2seq_lm: keras.Model, tokenizer: Tokenizer) -> Framing:
    """Returns the tokens that a model was trained with, as far as they are known.

    They are what the family's preprocessor adds; with another tokenizer, those of T5.
    """
    kind = getattr(seq2seq_lm, "preprocessor_cls", None)
    if kind is None or not isinstance(tokenizer, kind.tokenizer_cls):
        pad = getattr(tokenizer, "pad_token_id", None) or 0
        return Framing((), (int(tokenizer.end_token_id),), (int(pad),))
    preprocessor = kind(tokenizer)
    preprocessor.build(None)
    source, target = preprocessor.encoder_packer, preprocessor.decoder_packer
    ends = (source.start_value, source.end_value, target.start_value)
    return Framing(*(tuple(tokens or ()) for tokens in ends))


@keras.saving.register_keras_serializable(package="kpg")
class Seq2SeqTrunk(TextTrunk):
    """Reads a prompt with the encoder, and what follows it with the decoder.

    The state begins with the source: its tokens `[B, P]`, padded on the right, and
    their number `[B]`; the framing is added when it is read.
    """

    argument = "seq2seq_lm"
    reader = "call_decoder_with_cache"
    wanted = (
        "A `Seq2SeqLMPolicy` needs a Seq2SeqLM of keras_nlp, such as keras_nlp.models."
        "BartSeq2SeqLM; for a CausalLM use `kpg.models.CausalLMPolicy`"
    )

    def __init__(
        self,
        seq2seq_lm: keras.Model,
        framing: Sequence[Sequence[int]],
        **kwargs: object,
    ) -> None:
        super().__init__(seq2seq_lm, **kwargs)
        self.framing = Framing(*(tuple(map(int, tokens)) for tokens in framing))
        if not self.framing.start:
            raise ValueError(
                "A target must begin with at least one token, after which its first "
                f"own token is chosen. Received: framing={self.framing}"
            )

    def framed(self, sources: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what the encoder reads, `[B, L]` int32, and where it is text."""
        before, after, _ = self.framing
        rows = sizes(sources)[0]
        front = tf.tile(tf.constant([before], tf.int32), [rows, 1])
        back = tf.zeros([rows, len(after)], tf.int32)
        tokens = tf.concat([front, sources, back], axis=1)
        places = tf.range(sizes(tokens)[1])
        end = len(before) + lengths[:, tf.newaxis]
        for index, token in enumerate(after):
            tokens = tf.where(places == end + index, token, tokens)
        return tokens, tf.cast(places < end + len(after), tf.int32)

    def apart(
        self, texts: Tensor, lengths: Tensor, prompts: Tensor, room: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Returns sources `[N, P]` and targets `[N, K + T]` of texts; see `behind`.

        `room` is P and T, as many tokens as prompts and what follows them may have.
        """
        last = sizes(texts)[1] - 1
        known = tf.sequence_mask(prompts, room[0])
        sources = tf.gather(texts, tf.minimum(tf.range(room[0]), last), axis=1)
        places = prompts[:, tf.newaxis] + tf.range(room[1])
        own = tf.gather(texts, tf.minimum(places, last), batch_dims=1)
        own = tf.where(places < lengths[:, tf.newaxis], own, 0)
        started = self.started(sizes(texts)[0])
        return tf.where(known, sources, 0), tf.concat([started, own], axis=1)

    @override
    def behind(self, texts: Tensor, lengths: Tensor, prompts: Tensor) -> Tensor:
        room = (texts.shape[1],) * 2
        if self.max_tokens is not None:
            limits = self._limits()
            room = (min(room[0], limits[0]), min(room[1], limits[1]))
        sources, targets = self.apart(texts, lengths, prompts, room)
        places = len(self.framing.start) - 1 + lengths - prompts
        return tf.gather(self(sources, prompts, targets), places, batch_dims=1)

    def started(self, batch_size: int | Tensor) -> Tensor:
        """Returns what every target begins with, `[B, K]` int32."""
        return tf.tile(tf.constant([self.framing.start], tf.int32), [batch_size, 1])

    @override
    def call(self, sources: Tensor, lengths: Tensor, tokens: Tensor) -> Tensor:
        """Returns features `[B, L, F]` behind tokens `[B, L]`, each after its past."""
        source, mask = self.framed(sources, lengths)
        inputs = {
            "encoder_token_ids": source,
            "encoder_padding_mask": mask,
            "decoder_token_ids": tokens,
            "decoder_padding_mask": tf.ones_like(tokens),
        }
        return self.lm.backbone(inputs, training=False)["decoder_sequence_output"]

    @override
    def project(self, features: Tensor) -> Tensor:
        backbone = self.lm.backbone
        if getattr(backbone, "tie_embedding_weights", False):
            features = features * self.width**-0.5  # T5 without a head of its own
        return backbone.token_embedding(features, reverse=True)

    @override
    def begin(self, prompts: Tokens, lengths: Tokens) -> tuple[Tokens, State]:
        """The last token of the start is observed first."""
        start = np.tile(np.array([self.framing.start], np.int32), [len(lengths), 1])
        places = np.full_like(lengths, start.shape[1] - 1)
        return start[:, -1], (prompts, lengths, start[:, :-1], places)

    @override
    def continued(self, prompts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """A target has its start alone."""
        return self.started(sizes(prompts)[0]), tf.fill(
            tf.shape(lengths), len(self.framing.start)
        )

    @override
    def has_room(self, prompt_tokens: Count, new_tokens: Count) -> bool | Tensor:
        if self.max_tokens is None:
            return True
        source, target = self._limits()
        return (prompt_tokens <= source) & (new_tokens <= target)

    @property
    @override
    def room(self) -> str:
        source, target = self._limits()
        return f"A prompt must have at most {source} tokens, a completion {target}"

    def _limits(self) -> tuple[int, int]:
        """Returns the most tokens that a prompt and a completion may have."""
        before, after, start = map(len, self.framing)
        limit = self.max_tokens or 0
        return limit - before - after, limit - start

    @property
    @override
    def state_spec(self) -> tuple[tf.TensorSpec, ...]:
        """Source and text, padded, each with its length."""
        text, length = tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32)
        return text, length, text, length

    @override
    def initial_state(self, batch_size: int | Tensor) -> State:
        """The source is empty."""
        start = self.started(batch_size)[:, :-1]
        nothing = tf.zeros([batch_size], tf.int32)
        # Keras warns of attention to a single place.
        empty = tf.zeros([batch_size, 2], tf.int32)
        return empty, nothing, start, nothing + len(self.framing.start) - 1

    @override
    def get_config(self) -> Config:
        return {**super().get_config(), "framing": [list(x) for x in self.framing]}
