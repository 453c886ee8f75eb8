"""Completions of a text task's prompts, and what its rewards say of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kpg.environments.scoring import Array, Scores
from kpg.environments.text import TextGeneration
from kpg.models.language.policy import CausalLMPolicy
from kpg.models.language.sampling import Completions, Sampler
from kpg.trainers.collection import Episodes


class Written(NamedTuple):
    """One completion of each of B prompts.

    Attributes:
        prompts: `[B, P]` int32, padded on the right.
        lengths: `[B]` int32, tokens of each prompt.
        completions: The `Completions`, tensors `[T, B]`.
        counts: `[B]`, tokens of each completion, the end token included.
        scores: The `Scores`, arrays.
    """

    prompts: Array
    lengths: Array
    completions: Completions
    counts: Array
    scores: Scores

    @property
    def returns(self) -> Array:
        """What each completion was rewarded with in all, `[B]` float32."""
        returns: Array = self.scores.rewards.sum(axis=0)
        return returns

    @property
    def episodes(self) -> Episodes:
        """Sums over the completions."""
        return Episodes(
            float(self.returns.sum()), float(self.counts.sum()), float(len(self.counts))
        )


class Writer:
    """Lets a policy complete prompts of a task, and has the result scored.

    Args:
        env: The task.
        policy: What writes.
        jit_compile: Whether XLA compiles the loop.
        deterministic: Whether to choose the most likely tokens.

    Raises:
        ValueError: If the policy is none for texts, or a prompt is too long.
    """

    def __init__(
        self,
        env: TextGeneration,
        policy: Any,
        jit_compile: bool,
        deterministic: bool = False,
    ) -> None:
        if not isinstance(policy, CausalLMPolicy):
            raise ValueError(
                "TextGeneration needs a language policy: a "
                f"`kpg.models.CausalLMPolicy`. Received: {type(policy).__name__}"
            )
        self.env = env
        self.policy = policy
        self._prompts, self._lengths = _table(env, policy)
        self._end = int(policy.tokenizer.end_token_id)
        sampler = Sampler(policy, env.max_new_tokens, deterministic)
        self.function = tf.function(
            sampler.__call__, jit_compile=jit_compile, autograph=False
        )

    def write(
        self, indices: Array, seed: tf.Tensor, wanted: int | None = None
    ) -> Written:
        """Completes prompts.

        Args:
            indices: `[B]`, which prompts of the task.
            seed: `[2]` int32, a stateless seed.
            wanted: Of how many, from the first on, the completions shall be scored.
                Defaults to all.
        """
        prompts, lengths = self._prompts[indices], self._lengths[indices]
        completions = self.function(tf.constant(prompts), tf.constant(lengths), seed)
        indices = indices[:wanted]
        tokens = completions.tokens.numpy()
        counts = completions.valid.numpy().sum(0)[:wanted]
        rows = [tokens[:count, row] for row, count in enumerate(counts)]
        ended = [bool(row[-1] == self._end) for row in rows]
        texts = self.policy.codec.decode(
            [row[: len(row) - end] for row, end in zip(rows, ended, strict=True)]
        )
        scores = self.env.score(indices, texts, rows, ended)
        return Written(prompts, lengths, completions, counts, scores)


def _table(env: TextGeneration, policy: CausalLMPolicy) -> tuple[Array, Array]:
    """Returns all prompts `[N, P]`, padded on the right, and their lengths `[N]`."""
    rows = policy.codec.encode(env.prompts)
    lengths = np.array([len(row) for row in rows], np.int32)
    wrong = np.flatnonzero((lengths < 1) | (lengths > env.max_prompt_tokens))
    if len(wrong):
        raise ValueError(
            "A prompt must have at least one token and at most `max_prompt_tokens`; "
            "shorten it or raise the limit. Received: max_prompt_tokens="
            f"{env.max_prompt_tokens}, and {lengths[wrong[0]]} tokens of "
            f"{env.prompts[wrong[0]]!r}"
        )
    room, limit = int(lengths.max()), policy.trunk.max_tokens
    if limit is not None and room + env.max_new_tokens > limit:
        raise ValueError(
            f"The model reads texts of at most {limit} tokens, prompt and completion "
            f"together. Received: a prompt of {room} tokens, max_new_tokens="
            f"{env.max_new_tokens}"
        )
    table = np.zeros([len(rows), room], np.int32)
    for row, tokens in zip(table, rows, strict=True):
        row[: len(tokens)] = tokens
    return table, lengths
