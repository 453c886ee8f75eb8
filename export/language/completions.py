"""The signatures of a language policy: strings in, strings out; see docs/serving.md."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import cast

import numpy as np
import tensorflow as tf

from kpg import checks
from kpg.export.wire.names import AS_EXPORTED, COMPLETE, GREEDY
from kpg.export.writing.offer import Offer, Source
from kpg.export.writing.signature import Arrays, Signature, Tensors, require
from kpg.models.language.decoding.sampling import Sampler
from kpg.models.language.decoding.selection import decoder_for
from kpg.models.language.decoding.tables import put_anywhere, widened
from kpg.models.language.language_policy import LanguagePolicy
from kpg.types import Array

DEFAULT_NEW_TOKENS = 64

_EXAMPLE_TOKENS = 8
_PIECES = 64

_PROMPTS = {"prompts": tf.TensorSpec([None], tf.string)}
_OPTIONS = {
    "seed": tf.TensorSpec([], tf.int32),
    "temperature": tf.TensorSpec([], tf.float32),
    "max_new_tokens": tf.TensorSpec([], tf.int32),
    "deterministic": tf.TensorSpec([], tf.bool),
}
_INPUTS = _PROMPTS | _OPTIONS


def offer(source: Source, max_new_tokens: int | None = None) -> Offer:
    """Returns what a language policy offers. Its weights are read at each call."""
    policy = cast(LanguagePolicy, source.policy)
    if max_new_tokens is None:
        max_new_tokens = getattr(source.settings, "num_steps", None)
    writer = _Writer(policy, _limit(policy, max_new_tokens))
    most_likely, requested = "The most likely completions.", "Completions as requested."
    signatures = [
        Signature(GREEDY, _PROMPTS, writer.greedy, most_likely, writer.live),
        Signature(COMPLETE, _INPUTS, writer.complete, requested, writer.live),
    ]
    models = [policy] if policy.critic is None else [policy, policy.critic]
    return Offer(
        signatures={one.name: one for one in signatures},
        inputs=_INPUTS,
        parameters={name: [name] for name in _INPUTS},
        arguments=dict,
        examples=writer.examples,
        # A vocabulary is a lookup table, which is only restored with its owner.
        saved=[policy.tokenizer, *(v.value for one in models for v in one.variables)],
        policy=policy,
        settings={
            "max_new_tokens": writer.limit,
            "max_tokens": policy.trunk.max_tokens,
            "temperature": policy.temperature,
            "tokenizer": type(policy.tokenizer).__name__,
        },
        # A row costs as many passes through the model as it gets tokens, so there are
        # only as many rows as it takes to see that they vary.
        verified_batch_sizes=(1, 3),
        warm_batch_sizes=(1, 8),
    )


class _Writer:
    """The functions of a live policy, up to `limit` tokens a completion."""

    def __init__(self, policy: LanguagePolicy, limit: int) -> None:
        self.limit = limit
        self._policy = policy
        self._decoder = decoder_for(policy.trunk, portable=True)

    def greedy(self, prompts: tf.Tensor) -> Tensors:
        seed = tf.zeros([2], tf.int32)
        return self._write(prompts, self.limit, True, None, seed)

    def complete(
        self,
        prompts: tf.Tensor,
        seed: tf.Tensor,
        temperature: tf.Tensor,
        max_new_tokens: tf.Tensor,
        deterministic: tf.Tensor,
    ) -> Tensors:
        limit, own = self.limit, float(AS_EXPORTED)
        count_fits = (max_new_tokens >= 1) & (max_new_tokens <= limit)
        requirements = [
            require(
                (max_new_tokens == AS_EXPORTED) | count_fits,
                f"max_new_tokens must be in 1 ... {limit}, the limit that was "
                f"exported, or {AS_EXPORTED} for the limit. Received:",
                max_new_tokens,
            ),
            require(
                (temperature == own) | (temperature > 0.0),
                f"temperature must be above 0, or {AS_EXPORTED} for that of the "
                "policy; for the most likely tokens set deterministic. Received:",
                temperature,
            ),
        ]
        with tf.control_dependencies(requirements):
            count = tf.where(max_new_tokens == AS_EXPORTED, limit, max_new_tokens)
        wanted = tf.where(temperature == own, self._policy.temperature, temperature)
        return self._write(prompts, count, deterministic, wanted, tf.stack([seed, 0]))

    def _write(
        self,
        prompts: tf.Tensor,
        count: int | tf.Tensor,
        deterministic: bool | tf.Tensor,
        temperature: tf.Tensor | None,
        seed: tf.Tensor,
    ) -> Tensors:
        sampler = Sampler(
            self._policy, count, deterministic, self._decoder, temperature, put_anywhere
        )
        completions = sampler(*self._read(prompts, count), seed)
        ending, rows = self._policy.ending, tf.transpose(completions.tokens)
        kept = tf.transpose(completions.valid)
        for end in ending.tokens:
            kept &= rows != end
        texts = self._policy.codec.texts_of(tf.ragged.boolean_mask(rows, kept))
        texts = ending.cut_in_graph(texts)
        # A token can be part of a character, and a reply in JSON must be text.
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        return {
            "completions": texts,
            "log_probs": tf.reduce_sum(completions.log_probs, axis=0),
        }

    def live(self, inputs: Arrays) -> Arrays:
        """Asks the live policy, at its own temperature."""
        asked: Mapping[str, Array | int | bool] = {
            "seed": 0,
            "deterministic": True,
            "max_new_tokens": AS_EXPORTED,
            **inputs,
        }
        count = int(asked["max_new_tokens"])
        texts, log_probs = self._policy.complete(
            [prompt.decode() for prompt in inputs["prompts"]],
            self.limit if count == AS_EXPORTED else count,
            seed=int(asked["seed"]),
            deterministic=bool(asked["deterministic"]),
        )
        encoded = np.array([text.encode() for text in texts], object)
        return {"completions": encoded, "log_probs": log_probs}

    def examples(self, rows: int) -> Arrays:
        """Makes inputs with prompts of several lengths, always the same ones."""
        count = min(_EXAMPLE_TOKENS, self.limit)
        return {
            "prompts": np.array(self._prompts(rows), object),
            "seed": np.array(rows, np.int32),
            "temperature": np.array(AS_EXPORTED, np.float32),
            "max_new_tokens": np.array(count, np.int32),
            "deterministic": np.array(False),
        }

    def _read(
        self, prompts: tf.Tensor, max_new_tokens: int | tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the tokens `[B, P]` of prompts, P ≥ 1, and how many `[B]`."""
        tokens = self._policy.codec.prompts_of(tf.ensure_shape(prompts, [None]))
        lengths = tf.cast(tokens.row_lengths(), tf.int32)
        requirements = [
            require(
                lengths > 0,
                "Each prompt must have a token, which the completion follows. Received "
                "none in these rows:",
                tf.where(lengths == 0)[:, 0],
            )
        ]
        trunk = self._policy.trunk
        if trunk.max_tokens is not None:
            requirements.append(
                require(
                    trunk.has_room(lengths, max_new_tokens),
                    f"{trunk.room}; shorten the prompt or set max_new_tokens. Received "
                    "prompts of:",
                    lengths,
                )
            )
        with tf.control_dependencies(requirements):
            table = tokens.to_tensor(0)
        missing = tf.maximum(1 - tf.shape(table)[1], 0)
        return widened(table, missing, axis=1), lengths

    @functools.cached_property
    def _pieces(self) -> list[str]:
        return _known_pieces(self._policy)

    def _prompts(self, count: int) -> list[bytes]:
        """Makes prompts of words that the tokenizer knows, of 1 to 3 tokens."""
        pieces = self._pieces
        fits, start = self._policy.trunk.has_room, int(self._policy.add_start_token)
        room = max(count for count in (1, 2, 3) if fits(start + count, self.limit))
        return [
            "".join(
                pieces[(row + part) % len(pieces)] for part in range(1 + row % room)
            ).encode()
            for row in range(count)
        ]


def _limit(policy: LanguagePolicy, max_new_tokens: int | None) -> int:
    longest = policy.trunk.max_tokens
    if max_new_tokens is None:
        half = DEFAULT_NEW_TOKENS if longest is None else max(longest // 2, 1)
        return min(DEFAULT_NEW_TOKENS, half)
    max_new_tokens = checks.whole_number("max_new_tokens", max_new_tokens)
    if not policy.trunk.has_room(1 + policy.add_start_token, max_new_tokens):
        raise ValueError(
            f"`max_new_tokens` must leave room for a prompt in the {longest} tokens "
            f"that the model reads. Received: max_new_tokens={max_new_tokens}"
        )
    return max_new_tokens


def _known_pieces(policy: LanguagePolicy) -> list[str]:
    """Returns strings that are one token each, to make prompts of."""
    size = policy.trunk.vocabulary_size
    if callable(getattr(policy.tokenizer, "vocabulary_size", None)):
        size = min(size, int(policy.tokenizer.vocabulary_size()))
    tokens = np.arange(size, dtype=np.int32)
    texts = policy.codec.decode([row[np.newaxis] for row in tokens[-8 * _PIECES :]])
    texts = [text for text in texts if text and text.isprintable()]
    rows = policy.codec.encode(texts)
    pieces = [text for text, row in zip(texts, rows, strict=True) if len(row) == 1]
    if not pieces:
        raise ValueError(
            "The tokenizer must read what it writes: an export is tried with texts of "
            f"its tokens. Received: {type(policy.tokenizer).__name__}, which does not "
            "read a single one"
        )
    return pieces[:_PIECES]
