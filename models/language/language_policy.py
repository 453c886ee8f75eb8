"""A language model as a policy: the text is the state, a token the action."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NoReturn, TypeAlias, cast, overload

import keras
import numpy as np
import tensorflow as tf
from typing_extensions import Self, override

from kpg import checks
from kpg.distributions.family import Family
from kpg.graph.compiling import traceable
from kpg.language.pretrained.presets import pretrained
from kpg.language.rows import rows_of, texts_of
from kpg.language.tokenizers.chat import Prompt, in_template, is_chat
from kpg.language.tokenizers.codec import (
    Codec,
    Tokens,
    check_tokenizer,
    padded,
    shortened,
)
from kpg.language.tokenizers.tokenizer import Tokenizer
from kpg.models.action_model import ActionModel, Entropies, Judged
from kpg.models.language import saving
from kpg.models.language.chunks import in_chunks
from kpg.models.language.critic import LanguageCritic
from kpg.models.language.decoding.decoder import RereadingDecoder
from kpg.models.language.decoding.ending import Ending, ending_for
from kpg.models.language.decoding.per_layer_cache import LayeredDecoder
from kpg.models.language.decoding.repetition import penalized, seen_until
from kpg.models.language.decoding.sampling import Sampler
from kpg.models.language.decoding.selection import decoder_for
from kpg.models.language.decoding.seq2seq import Seq2SeqRereader
from kpg.models.language.decoding.tables import put_anywhere
from kpg.models.language.rematerialisation import blocks, rematerialised
from kpg.models.language.text_model import TextModel
from kpg.models.language.text_trunk import State, TextTrunk
from kpg.models.language.tokenizing import (
    adds_start_token,
    chosen_tokenizer,
    codec_of,
    has_vocabulary,
)
from kpg.models.language.writing import Writing
from kpg.models.tracked_model import TrackedModel
from kpg.types import Array, Config, Nest, Tensor

Texts: TypeAlias = "Sequence[str] | Sequence[Array] | Sequence[Sequence[int]]"


class LanguagePolicy(ActionModel, TextModel):
    """A policy over tokens, for `kpg.environments.TextGeneration`.

    Its methods that take observations `[B]` without a state (`sample`, `log_prob`, …)
    regard each token as the first of its text.
    """

    trunk_type: ClassVar[type[TextTrunk]]
    preset_task: ClassVar[str]
    # How it is exported, as "module:function": not like a policy that acts.
    exporter: ClassVar[str] = "kpg.export.language.completions:offer"

    def __init__(
        self,
        trunk: TextTrunk,
        tokenizer: Tokenizer | None,
        value_head: bool,
        writing: Writing,
        add_start_token: bool | None,
        special_tokens: Sequence[str],
        remat: bool,
        chat_template: str | None,
        **kwargs: object,
    ) -> None:
        super().__init__(trunk, **kwargs)
        self.action_space = self.observation_space
        self.family: Family = writing.family(self.action_space)
        self.tokenizer = chosen_tokenizer(tokenizer, trunk.lm)
        self.add_start_token = adds_start_token(
            trunk.lm, self.tokenizer, add_start_token
        )
        self.special_tokens = tuple(special_tokens)
        self.chat_template = chat_template
        self.writing = writing
        self.temperature = float(writing.temperature)
        if has_vocabulary(self.tokenizer):
            check_tokenizer(self.tokenizer, trunk.vocabulary_size, self.codec)
            _ = self.ending  # refuses what the tokenizer cannot write
        self.remat = checks.flag("remat", remat)
        if remat:
            blocks(trunk.lm.backbone)
        critic = LanguageCritic(trunk, shared=True) if value_head else None
        # Keras does not look into functions: the head's weights are the critic's alone,
        # and no optimizer has them unless a trainer is given the critic.
        self._critic: Callable[[], LanguageCritic | None] = lambda: critic
        self._completing = functools.cache(self._sampler)

    @property
    def critic(self) -> LanguageCritic | None:
        """The value head on the policy's trunk, to be given to a trainer."""
        return self._critic()

    @functools.cached_property
    def codec(self) -> Codec:
        """Strings to tokens and back, by the tokenizer's graph."""
        return codec_of(self.tokenizer, self.add_start_token, self.special_tokens)

    @functools.cached_property
    def ending(self) -> Ending:
        """What ends its texts."""
        return ending_for(self.codec, self.trunk.vocabulary_size, self.writing)

    def prompt_of(self, messages: Prompt) -> str:
        """Returns the text that messages become by the chat template.

        Args:
            messages: A list of `{"role": …, "content": …}`; a string stays as it is.

        Raises:
            ValueError: If they are no messages, there is no template, or it refuses
                them.
            ImportError: If the package jinja2 is not installed.
        """
        if isinstance(messages, str):
            return messages
        if not is_chat(messages):
            wanted = 'must be a string or messages {"role": …, "content": …}'
            checks.refuse("prompt", wanted, messages)
        own = getattr(self.tokenizer, "chat_template", None)
        names = {
            f"{kind}_token": str(getattr(self.tokenizer, f"{name}_token", None) or "")
            for kind, name in (("bos", "start"), ("eos", "end"))
        }
        return in_template(messages, self.chat_template or own, names)

    def padded(
        self, prompts: Sequence[Prompt], limit: int | None = None, side: str = ""
    ) -> tuple[Tokens, Tokens]:
        """Returns tokens `[B, P]` of prompts, padded on the right, and how many.

        A start token is among them. With a side, "left" or "right", what is above the
        limit is cut off there.
        """
        texts = [self.prompt_of(prompt) for prompt in prompts]
        rows = self.codec.encode(texts, prompts=True)
        if limit is not None:
            rows = [shortened(row, limit, side, self.codec.start) for row in rows]
        table, lengths = padded(rows)
        for prompt, length in zip(texts, lengths, strict=True):
            if length == 0:
                raise ValueError(
                    "Each prompt must have at least one token, which the completion "
                    f"follows. Received: {prompt!r}"
                )
        return table, lengths

    def texts(self, rows: Sequence[Tokens]) -> list[str]:
        """Returns the text of each completion, a row of tokens, without its end.

        Neither the end token nor a stop string, nor what its last token has behind it,
        is part of the text.
        """
        texts = self.codec.decode([self.ending.kept(row) for row in rows])
        return [self.ending.cut(text) for text in texts]

    def score(
        self,
        prompts: Texts,
        completions: Texts,
    ) -> list[Array]:
        """Returns log p(token | prompt, tokens before) of each completion's tokens.

        The model reads each completion once, so that a policy can be the scorer of a
        reward: `kpg.rewards.Fluency(policy)`.

        Args:
            prompts: B strings, or B rows of token ids with all that the model reads.
            completions: B strings, whose end is not scored, or B rows of token ids.

        Returns:
            B float32 arrays in nats, each as long as its completion, at the policy's
            temperature and with its repetition penalty. `top_k`, `top_p` and `min_p`
            cut nothing off, so that all are finite.

        Raises:
            ValueError: If there are not as many prompts as completions, one of them has
                no token or an unknown one, or the model cannot read that much.
        """
        rows = self._rows(prompts, True)
        written = self._rows(completions, False)
        if len(rows) != len(written):
            raise ValueError(
                "Each prompt needs a completion. Received: "
                f"{len(rows)} prompts, {len(written)} completions"
            )
        (table, lengths), (tokens, counts) = padded(rows), padded(written)
        if len(rows) > 1 and not self.trunk.has_room(table.shape[1], tokens.shape[1]):
            pairs = zip(rows, written, strict=True)
            return [self.score([p], [c])[0] for p, c in pairs]  # perhaps one by one
        self.check_room(table.shape[1], tokens.shape[1])
        first, state = self.begin(table, lengths)
        observations = np.concatenate([first[np.newaxis], tokens.T[:-1]])
        states = tuple(tf.constant(part) for part in state)
        found = self._reading(
            tf.constant(observations), tf.constant(tokens.T), *states
        ).numpy()
        return [found[:count, row] for row, count in enumerate(counts)]

    def embed(self, texts: Sequence[str]) -> Array:
        """Returns the mean embedding of each text's tokens, `[B, F]` float32.

        The order of the tokens does not count; a text without tokens has zeros.

        Raises:
            ValueError: If there is no text, or one is not a string.
        """
        rows = texts_of("texts", texts)
        ragged = self.codec.tokens_of(tf.constant(rows, tf.string))
        vectors = self.trunk.lm.backbone.token_embedding(ragged.flat_values)
        features = ragged.with_flat_values(tf.cast(vectors, tf.float32))
        means: Array = tf.math.divide_no_nan(
            tf.reduce_sum(features, axis=1),
            tf.cast(ragged.row_lengths(), tf.float32)[:, tf.newaxis],
        ).numpy()
        return means

    def _rows(self, texts: Texts, prompts: bool) -> list[Tokens]:
        """Returns the tokens of texts that are strings or rows of tokens."""
        texts = rows_of("prompts" if prompts else "completions", texts)
        strings = [text for text in texts if isinstance(text, str)]
        encoded = iter(self.codec.encode(strings, prompts) if strings else [])
        rows = [
            next(encoded) if isinstance(text, str) else np.asarray(text, np.int32)
            for text in texts
        ]
        for text, row in zip(texts, rows, strict=True):
            known = (row >= 0) & (row < self.trunk.vocabulary_size)
            if row.ndim != 1 or not row.size or not known.all():
                raise ValueError(
                    "A text to score must have at least one token, and only tokens of "
                    f"the model. Received: {text!r}"
                )
        return rows

    @functools.cached_property
    def _reading(self) -> tf.types.experimental.PolymorphicFunction:
        """Returns the compiled part of `score`, for any number of tokens."""

        def read(observations: Tensor, tokens: Tensor, *state: Tensor) -> Tensor:
            parameters = self.told(*self.trunk.unroll(observations, state))
            return -tf.nn.sparse_softmax_cross_entropy_with_logits(tokens, parameters)

        rows = [tf.TensorSpec([None, None], tf.int32)] * 2
        states = [tf.TensorSpec([None, *s.shape], s.dtype) for s in self.state_spec]
        return tf.function(read, [*rows, *states], autograph=False)

    def acting(self, *arguments: object, **options: object) -> NoReturn:
        """Refuses to act by hand, token by token."""
        raise ValueError(
            "A text policy writes whole texts: call `policy.generate(prompts)`. "
            f"Received: {type(self).__name__}"
        )

    act = acting

    # A string is a sequence of strings, too: the first that fits is meant.
    @overload
    def generate(  # type: ignore[overload-overlap]
        self,
        prompts: Prompt,
        max_new_tokens: int = 64,
        seed: int = 0,
        deterministic: bool = False,
    ) -> str: ...

    @overload
    def generate(
        self,
        prompts: Sequence[Prompt],
        max_new_tokens: int = 64,
        seed: int = 0,
        deterministic: bool = False,
    ) -> list[str]: ...

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        max_new_tokens: int = 64,
        seed: int = 0,
        deterministic: bool = False,
    ) -> str | list[str]:
        """Completes prompts.

        Args:
            prompts: B strings, none empty, or lists of messages, see `prompt_of`; or
                one of these.
            max_new_tokens: The most tokens of a completion, ≥ 1. Defaults to 64.
            seed: An int32 number; equal seeds give equal texts. Defaults to 0.
            deterministic: Whether to choose the likeliest tokens. Defaults to `False`.

        Returns:
            B strings, without the prompts, or the one of a single prompt.

        Raises:
            ValueError: If there is no prompt, one has no token, the model cannot read
                that much, or a number is out of range.
        """
        single = isinstance(prompts, str) or is_chat(prompts)
        rows = cast("Sequence[Prompt]", [prompts] if single else prompts)
        texts = self.complete(rows, max_new_tokens, seed, deterministic)[0]
        return texts[0] if single else texts

    def complete(
        self,
        prompts: Sequence[Prompt],
        max_new_tokens: int = 64,
        seed: int = 0,
        deterministic: bool = False,
    ) -> tuple[list[str], Array]:
        """Completes prompts as `generate` does, and says how likely the texts were.

        Returns:
            B strings, and their log-probabilities `[B]` in nats, the end included.
        """
        most = checks.whole_number("max_new_tokens", max_new_tokens)
        key = [checks.int32("seed", seed), 0]
        tokens, lengths = self.padded(rows_of("prompts", prompts))
        self.check_room(tokens.shape[1], most)
        complete = self._completing(most, checks.flag("deterministic", deterministic))
        given = (tokens, lengths, np.array(key, np.int32))
        completions = complete(*map(tf.constant, given))
        written, counts = completions.tokens.numpy(), completions.valid.numpy().sum(0)
        texts = self.texts([written[:count, row] for row, count in enumerate(counts)])
        return texts, completions.log_probs.numpy().sum(0)

    def _sampler(
        self, max_new_tokens: int, deterministic: bool
    ) -> tf.types.experimental.PolymorphicFunction:
        """Returns a compiled `Sampler`."""
        decoder = decoder_for(self.trunk, portable=True)
        if isinstance(decoder, (RereadingDecoder, Seq2SeqRereader)):
            # A cache of KerasHub has one shape.
            sampler = Sampler(self, max_new_tokens, deterministic)
            return traceable(sampler.__call__)
        sampler = Sampler(
            self, max_new_tokens, deterministic, decoder, write=put_anywhere
        )
        shapes = ([None, None], [None], [2])
        specs = [tf.TensorSpec(shape, tf.int32) for shape in shapes]
        return traceable(sampler.__call__, specs)

    def check_room(self, prompt_tokens: int, max_new_tokens: int) -> None:
        """Refuses texts that are longer than the model reads, by a `ValueError`."""
        if not self.trunk.has_room(prompt_tokens, max_new_tokens):
            raise ValueError(
                f"{self.trunk.room}: the model reads no more. Received: a prompt of "
                f"{prompt_tokens} tokens, max_new_tokens={max_new_tokens}"
            )

    def begin(self, prompts: Tokens, lengths: Tokens) -> tuple[Tokens, State]:
        """See `TextTrunk.begin`."""
        return self.trunk.begin(prompts, lengths)

    @override
    def outputs(self, features: Tensor, observations: Tensor | None = None) -> Tensor:
        """Returns float32 logits `[..., V]` of the next token, at the temperature."""
        return self.trunk.logits(features) / self.temperature

    @override
    def told(self, features: Tensor, states: State) -> Tensor:
        """Penalises the tokens that the text has before the one that is chosen."""
        outputs, penalty = self.outputs(features), self.writing.repetition_penalty
        if penalty == 1.0:
            return outputs
        *_, texts, lengths = states
        seen = seen_until(texts[-1], lengths, self.trunk.vocabulary_size)
        return penalized(outputs, seen, penalty)

    @override
    def judge(
        self,
        observations: Nest,
        actions: Nest,
        state: Nest,
        resets: Tensor | None,
        critic: TrackedModel | None = None,
        training: bool = False,
        entropies: Entropies = "learned",
        alike: int = 1,
    ) -> Judged:
        if self.writing.repetition_penalty != 1.0:  # what follows depends on the text
            with rematerialised(self.trunk.lm.backbone, self.remat):
                return super().judge(
                    *(observations, actions, state, resets),
                    *(critic, training, entropies),
                )
        features = self._read(observations, state, alike)
        values = None
        if isinstance(critic, TextModel):
            values = critic.outputs(features)
        pair = in_chunks(
            lambda rows, chosen: self.judgement(self.outputs(rows), chosen, entropies),
            tf.reshape(features, [-1, self.trunk.width]),
            tf.reshape(actions, [-1]),
            self.trunk.vocabulary_size,
            self.trunk.head_variables,
        )
        log_probs, known = (tf.reshape(part, tf.shape(actions)) for part in pair)
        return Judged(log_probs, known, values)

    def _read(self, observations: Tensor, state: State, alike: int) -> Tensor:
        """Returns features `[T, B, F]`; a prompt of `alike` texts is read once."""
        reader = decoder_for(self.trunk) if alike > 1 else None
        if isinstance(reader, LayeredDecoder) and state[0].shape[1] != 0:
            prompts, lengths = (part[::alike] for part in state)
            tokens = tf.transpose(tf.cast(observations, tf.int32))
            read = reader.continued(prompts, lengths, tokens, alike, self.remat)
            return tf.transpose(read, [1, 0, 2])
        with rematerialised(self.trunk.lm.backbone, self.remat):
            return self.trunk.unroll(observations, state)[0]

    @override
    def get_config(self) -> Config:
        return {
            **self.trunk.get_config(),
            "remat": self.remat,
            "name": self.name,
            "tokenizer": keras.saving.serialize_keras_object(self.tokenizer),
            "value_head": self.critic is not None,
            "special_tokens": list(self.special_tokens),
            "chat_template": self.chat_template,
            **self.writing.get_config(),
        }

    @classmethod
    @override
    def from_config(
        cls, config: Config, custom_objects: Mapping[str, object] | None = None
    ) -> Self:
        revive, name = keras.saving.deserialize_keras_object, cls.trunk_type.argument
        tokenizer = revive(config["tokenizer"], custom_objects)
        lm = saving.revived(config[name], custom_objects)
        return cls(**{**config, name: lm, "tokenizer": tokenizer})

    @classmethod
    def from_preset(
        cls, preset: str | Path, tokenizer: Tokenizer | None = None, **options: object
    ) -> Self:
        """Makes a policy of a pretrained model.

        Args:
            preset: A directory that `save_to_preset` of a KerasHub model wrote, or a
                name that KerasHub's `from_preset` knows, which is downloaded.
            tokenizer: Defaults to that of the preset.
            **options: Other arguments of the class.

        Raises:
            ValueError: If there is no such preset, it is of another kind of model, or
                the tokenizer does not match the model.
        """
        lm = pretrained(preset, cls.preset_task, with_tokenizer=tokenizer is None)
        kind: type = cls  # each class has arguments of its own
        policy: Self = kind(lm, tokenizer, **options)
        return policy
