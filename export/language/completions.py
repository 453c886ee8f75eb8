"""What an exported language policy can be asked: strings in, strings out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kpg import spaces
from kpg.export.client.arguments import AS_EXPORTED
from kpg.export.wire import tensors
from kpg.export.writing.signatures import GREEDY, Tensors, trace
from kpg.models.language.decoding.sampling import Completions, Sampler
from kpg.models.language.decoding.selection import decoder_for
from kpg.models.language.decoding.tables import put_anywhere, widened
from kpg.models.language.language_policy import LanguagePolicy

COMPLETE = "complete"
DEFAULT_NEW_TOKENS = 64

_EXAMPLE_TOKENS = 8
_PIECES = 64


class CompletionSignatures:
    """The functions that an exported language policy offers, traced and not.

    `serving_default` takes prompts alone and writes the most likely tokens, up to the
    exported limit. `complete` takes all of

    - `prompts` `[B]`, strings of at least one token;
    - `seed`, int32: equal seeds draw equal completions of equal batches;
    - `temperature`, float32 above 0, or −1 for that of the policy;
    - `max_new_tokens`, int32 in 1 … the exported limit, or −1 for that;
    - `deterministic`, bool: whether to write the most likely tokens.

    Both return `completions` `[B]`, strings in UTF-8 without prompt and end, and
    `log_probs` `[B]`, the log-probability (nats) of each completion, its end included.
    Inputs out of their range, empty prompts and prompts that leave no room for the
    completion are errors (INVALID_ARGUMENT).

    The tokenizer, the loop over tokens and the detokenizer are in the graph.

    Args:
        policy: The live policy, whose weights are read at each call.
        max_new_tokens: Tokens of a completion at most. Defaults to 64, or half of what
            the model reads if that is less.

    Attributes:
        max_new_tokens: The limit.

    Raises:
        ValueError: If the limit is out of range.
    """

    # A row costs as many passes through the model as it gets tokens: neither checking
    # nor warming up is done with more rows than it takes to see that they vary.
    verified_batch_sizes = (1, 3)
    warm_batch_sizes = (1, 8)

    def __init__(
        self, policy: LanguagePolicy, max_new_tokens: int | None = None
    ) -> None:
        self._policy = policy
        self.max_new_tokens = _limit(policy, max_new_tokens)
        self._decoder = decoder_for(policy.trunk, portable=True)
        self._pieces: list[str] = []

    @property
    def spaces(self) -> dict[str, Any]:
        """The tokens as plain data, for the manifest."""
        return {
            "observation": spaces.to_config(self._policy.observation_space),
            "action": spaces.to_config(self._policy.action_space),
        }

    @property
    def settings(self) -> dict[str, Any]:
        """What the completions are made with, for the manifest."""
        return {
            "max_new_tokens": self.max_new_tokens,
            "max_tokens": self._policy.trunk.max_tokens,
            "temperature": self._policy.temperature,
            "tokenizer": type(self._policy.tokenizer).__name__,
        }

    def greedy(self, prompts: tf.Tensor) -> Tensors:
        """Writes the most likely completions, up to the limit."""
        seed = tf.zeros([2], tf.int32)
        sampler = Sampler(
            self._policy,
            self.max_new_tokens,
            deterministic=True,
            decoder=self._decoder,
            write=put_anywhere,
        )
        return self._texts(sampler(*self._read(prompts, self.max_new_tokens), seed))

    def complete(
        self,
        prompts: tf.Tensor,
        seed: tf.Tensor,
        temperature: tf.Tensor,
        max_new_tokens: tf.Tensor,
        deterministic: tf.Tensor,
    ) -> Tensors:
        """Writes completions as they are asked for."""
        limit, own = self.max_new_tokens, float(AS_EXPORTED)
        with tf.control_dependencies(
            [
                _require(
                    (max_new_tokens == AS_EXPORTED)
                    | ((max_new_tokens >= 1) & (max_new_tokens <= limit)),
                    f"max_new_tokens must be in 1 ... {limit}, the limit that was "
                    f"exported, or {AS_EXPORTED} for that. Received:",
                    max_new_tokens,
                ),
                _require(
                    (temperature == own) | (temperature > 0.0),
                    f"temperature must be above 0, or {AS_EXPORTED} for that of the "
                    "policy; for the most likely tokens set deterministic. Received:",
                    temperature,
                ),
            ]
        ):
            count = tf.where(max_new_tokens == AS_EXPORTED, limit, max_new_tokens)
        sampler = Sampler(
            self._policy,
            count,
            deterministic,
            self._decoder,
            tf.where(temperature == own, self._policy.temperature, temperature),
            put_anywhere,
        )
        key = tf.stack([seed, 0])
        return self._texts(sampler(*self._read(prompts, count), key))

    def live(
        self, name: str, inputs: Mapping[str, tensors.Array]
    ) -> dict[str, tensors.Array]:
        """Asks the live policy: what an export must reproduce.

        Args:
            name: `GREEDY` or `COMPLETE`.
            inputs: An array for each input; temperature and limit as exported.

        Returns:
            NumPy arrays by output name.
        """
        asked: dict[str, Any] = {"seed": 0, "deterministic": True, **inputs}
        texts, log_probs = self._policy.complete(
            [prompt.decode() for prompt in inputs["prompts"]],
            _asked_tokens(asked, self.max_new_tokens),
            seed=int(asked["seed"]),
            deterministic=bool(asked["deterministic"]),
        )
        encoded = np.array([text.encode() for text in texts], object)
        return {"completions": encoded, "log_probs": log_probs}

    def module(self) -> tuple[tf.Module, dict[str, Any]]:
        """See `Signatures.module`."""
        module, policy = tf.Module(), self._policy
        models = [policy] if policy.critic is None else [policy, policy.critic]
        module.weights = [v.value for model in models for v in model.variables]
        # A vocabulary is a table, which is restored only with what owns it.
        module.tokenizer = policy.tokenizer
        prompts = {"prompts": tf.TensorSpec([None], tf.string)}
        asked = {
            "seed": tf.TensorSpec([], tf.int32),
            "temperature": tf.TensorSpec([], tf.float32),
            "max_new_tokens": tf.TensorSpec([], tf.int32),
            "deterministic": tf.TensorSpec([], tf.bool),
        }
        module.greedy = trace(self.greedy, prompts)
        module.complete = trace(self.complete, prompts | asked)
        return module, {GREEDY: module.greedy, COMPLETE: module.complete}

    def examples(self, batch_size: int) -> list[tuple[str, dict[str, tensors.Array]]]:
        """Makes inputs for every signature, with prompts of several lengths.

        Args:
            batch_size: Rows, ≥ 0.

        Returns:
            Signature names, each with the arrays of its inputs; always the same ones.
        """
        prompts = np.array(self._prompts(batch_size), object)
        asked = {
            "prompts": prompts,
            "seed": np.array(batch_size, np.int32),
            "temperature": np.array(AS_EXPORTED, np.float32),
            "max_new_tokens": np.array(
                min(_EXAMPLE_TOKENS, self.max_new_tokens), np.int32
            ),
            "deterministic": np.array(False),
        }
        return [(GREEDY, {"prompts": prompts}), (COMPLETE, asked)]

    def _read(
        self, prompts: tf.Tensor, max_new_tokens: int | tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the tokens `[B, P]` of prompts, P ≥ 1, and how many `[B]`."""
        tokens = self._policy.tokenizer.tokenize(tf.ensure_shape(prompts, [None]))
        lengths = tf.cast(tokens.row_lengths(), tf.int32)
        checks = [
            _require(
                lengths > 0,
                "Each prompt must have a token, which the completion follows. Received "
                "at these places none:",
                tf.where(lengths == 0)[:, 0],
            )
        ]
        trunk = self._policy.trunk
        if trunk.max_tokens is not None:
            checks.append(
                _require(
                    trunk.has_room(lengths, max_new_tokens),
                    f"{trunk.room}; shorten the prompt or set max_new_tokens. Received "
                    "prompts of:",
                    lengths,
                )
            )
        with tf.control_dependencies(checks):
            table = tf.cast(tokens.to_tensor(0), tf.int32)
        missing = tf.maximum(1 - tf.shape(table)[1], 0)
        return widened(table, missing, axis=1), lengths

    def _texts(self, completions: Completions) -> Tensors:
        """Returns the outputs."""
        tokenizer = self._policy.tokenizer
        rows = tf.transpose(completions.tokens)
        kept = tf.transpose(completions.valid) & (rows != int(tokenizer.end_token_id))
        texts = tokenizer.detokenize(tf.ragged.boolean_mask(rows, kept))
        # A token can be a part of a character, and a reply in JSON must be text.
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        return {
            "completions": texts,
            "log_probs": tf.reduce_sum(completions.log_probs, axis=0),
        }

    def _prompts(self, count: int) -> list[bytes]:
        """Makes prompts of words that the tokenizer knows, of 1 to 3 tokens."""
        pieces = self._pieces = self._pieces or _known_pieces(self._policy)
        fits = self._policy.trunk.has_room
        room = max(count for count in (1, 2, 3) if fits(count, self.max_new_tokens))
        return [
            "".join(
                pieces[(row + part) % len(pieces)] for part in range(1 + row % room)
            ).encode()
            for row in range(count)
        ]


def _limit(policy: LanguagePolicy, max_new_tokens: int | None) -> int:
    """Returns the tokens of a completion at most."""
    longest = policy.trunk.max_tokens
    if max_new_tokens is None:
        return DEFAULT_NEW_TOKENS if longest is None else min(64, max(longest // 2, 1))
    whole = isinstance(max_new_tokens, int) and not isinstance(max_new_tokens, bool)
    if not whole or max_new_tokens < 1:
        raise ValueError(
            "`max_new_tokens` must be a positive integer. Received: "
            f"max_new_tokens={max_new_tokens!r}"
        )
    if not policy.trunk.has_room(1, max_new_tokens):
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
            f"its tokens. Received: {type(policy.tokenizer).__name__}, of which no "
            "token comes back"
        )
    return pieces[:_PIECES]


def _asked_tokens(asked: Mapping[str, Any], limit: int) -> int:
    count = int(asked.get("max_new_tokens", AS_EXPORTED))
    return limit if count == AS_EXPORTED else count


def _require(conditions: tf.Tensor, text: str, received: tf.Tensor) -> tf.Operation:
    return tf.debugging.Assert(tf.reduce_all(conditions), [text, received])
