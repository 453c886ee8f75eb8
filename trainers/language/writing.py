"""Completions of a text task's prompts, and their rewards."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg import checks
from kpg.graph import random
from kpg.graph.compiling import compiled
from kpg.language.generation import TextGeneration
from kpg.language.rewards.checking import Completed
from kpg.language.rewards.weighted import Evaluation, joined
from kpg.models.language.decoding.sampling import Completions, Sampler
from kpg.models.language.language_policy import LanguagePolicy
from kpg.trainers.acting.evaluation import Evaluator, Played
from kpg.trainers.acting.graph import Episodes
from kpg.types import Array


class Written(NamedTuple):
    """One completion of each of B prompts.

    `prompts`, `[B, P]` int32, are padded on the right; `completions` are `[T, B]`;
    `lengths` and `counts`, `[B]`, are tokens of prompts and of completions with their
    end; `ended`, `[B]` bool, says which have one.
    """

    prompts: Array
    lengths: Array
    completions: Completions
    counts: Array
    scores: Evaluation
    ended: Array

    @property
    def returns(self) -> Array:
        """Each completion's total reward, `[B]` float32; NaN if nothing scored it."""
        total = self.scores.total.sum(axis=1)
        return np.where(self.scores.scored, total, np.float32(np.nan))

    @property
    def episodes(self) -> Episodes:
        """Sums over the completions that were scored."""
        scored = self.scores.scored
        total = self.scores.total[scored].sum()
        count = self.counts[scored].sum()
        return Episodes(float(total), float(count), float(scored.sum()))


class _Piece(NamedTuple):
    """What was written in one call, as in `Written`, and what rewards know of it."""

    completions: Completions
    counts: Array
    ended: Array
    completed: Completed


class Writer:
    """Lets a policy complete prompts of a task, and has the result scored.

    `in_groups`, they come as `TextGeneration.chosen` gives them.
    """

    def __init__(
        self,
        env: TextGeneration,
        policy: Any,
        jit_compile: bool,
        deterministic: bool = False,
        in_groups: bool = False,
    ) -> None:
        if not isinstance(policy, LanguagePolicy):
            raise ValueError(
                "TextGeneration needs a language policy, such as a "
                f"`kpg.models.CausalLMPolicy`. Received: {type(policy).__name__}"
            )
        self.env = env
        self.policy = policy
        self._table: tuple[Array, Array] | None = None
        if not env.task.streams:
            self._table = env.task.padded(policy, env.max_prompt_tokens)
        self._in_groups = in_groups
        self.sampler = Sampler(
            policy, self._at_a_time, deterministic, alike=self._alike
        )
        self.function = compiled(self.sampler.__call__, jit_compile)

    @property
    def prompt_tokens(self) -> int:
        """The tokens of the longest prompt that there may be."""
        table = self._table
        return self.env.max_prompt_tokens if table is None else int(table[0].shape[1])

    def _given(self, indices: Array) -> tuple[Array, Array]:
        """Returns prompts `[B, P]` and their lengths; see `prompt_buckets` for P."""
        task, limit = self.env.task, self.env.max_prompt_tokens
        prompts, lengths = self._table or task.padded(self.policy, limit)
        own = lengths[indices]
        step = math.ceil(self.prompt_tokens / self.env.prompt_buckets)
        room = min(self.prompt_tokens, math.ceil(int(own.max()) / step) * step)
        return prompts[indices, :room], own

    @property
    def _at_a_time(self) -> int:
        """The most tokens that one call writes."""
        return self.env.max_new_tokens

    @property
    def _alike(self) -> int:
        """How many neighbours of a call begin alike."""
        return self.env.group_size if self._in_groups else 1

    @property
    def _parts(self) -> int:
        """In how many calls an iteration's texts are written."""
        return self.env.parts if self._in_groups else 1

    def write(
        self, indices: Array, seed: tf.Tensor, wanted: int | None = None
    ) -> Written:
        """Completes the prompts at `[B]` indices; scores the first `wanted`."""
        prompts, lengths = self._given(indices)
        task, count = self.env.task, self._parts
        seeds = random.seeds([count], seed) if count > 1 else [seed]
        pieces = (
            self._piece(indices[rows][:wanted], prompts[rows], lengths[rows], own)
            for rows, own in zip(
                np.split(np.arange(len(indices)), count), seeds, strict=True
            )
        )
        if count == 1:
            (piece,) = pieces
            scores = task.judge(piece.completed)
        else:
            piece, scores = _judged_aside(task.judge, pieces)
        task.take(piece.completed, scores)
        texts, counts = piece.completions, piece.counts
        return Written(prompts, lengths, texts, counts, scores, piece.ended)

    def _piece(
        self, indices: Array, prompts: Array, lengths: Array, seed: tf.Tensor
    ) -> _Piece:
        """Completes prompts; looks at those whose `indices` are given."""
        completions = self.function(tf.constant(prompts), tf.constant(lengths), seed)
        tokens, wanted = completions.tokens.numpy(), len(indices)
        counts = completions.valid.numpy().sum(0)[:wanted]
        rows = [tokens[:count, row] for row, count in enumerate(counts)]
        ended = [self.policy.ending.ended(row) for row in rows]
        pairs = zip(prompts, lengths, strict=True)
        given = [prompt[:length] for prompt, length in pairs][:wanted]
        texts = self.policy.texts(rows)
        completed = self.env.task.known(indices, texts, given, rows, ended)
        return _Piece(completions, counts, np.array(ended), completed)


def _judged_aside(
    judge: Callable[[Completed], Evaluation], pieces: Iterable[_Piece]
) -> tuple[_Piece, Evaluation]:
    """Has each piece judged while the next is written; returns all of them as one."""
    with ThreadPoolExecutor(1) as thread:
        pairs = [(own, thread.submit(judge, own.completed)) for own in pieces]
        scores = joined([verdict.result() for _, verdict in pairs])
    written = [own for own, _ in pairs]
    completed = [own.completed for own in written]
    return _Piece(
        Completions(
            *(
                tf.concat(tables, axis=1)
                for tables in zip(*(own.completions for own in written), strict=True)
            )
        ),
        np.concatenate([own.counts for own in written]),
        np.concatenate([own.ended for own in written]),
        Completed(
            [prompt for own in completed for prompt in own.prompts],
            [text for own in completed for text in own.completions],
            {
                name: [entry for own in completed for entry in own.columns[name]]
                for name in completed[0].columns
            },
        ),
    ), scores


class GreedyWriter:
    """Completes prompts greedily; the task's measures and texts stay the samples'.

    `kind` is the class of writers that suits the task.
    """

    def __init__(
        self,
        env: TextGeneration,
        policy: Any,
        jit_compile: bool,
        kind: type[Writer] = Writer,
    ) -> None:
        self._env = copy.copy(env)
        self._env.task = copy.copy(env.task)
        self._env.measured()  # starts a list of its own
        self._writer = kind(self._env, policy, jit_compile, deterministic=True)

    def rewards(self, indices: Array) -> Array:
        """Returns `[B, T]` float32 rewards, NaN for texts that nothing scored.

        A group's one prompt is completed once.
        """
        size = self._env.group_size
        written = self._writer.write(indices[::size], tf.constant([0, 0]))
        self._env.measured()
        # In the time of the policy's own tokens: others may have spoken between them.
        own = written.completions.valid.numpy().T
        totals = np.zeros_like(written.scores.total)
        places = np.maximum(own.cumsum(axis=1) - 1, 0)
        rows = np.arange(len(own))[:, np.newaxis]
        np.add.at(totals, (rows, places), written.scores.total)
        rewards = np.where(written.scores.scored[:, np.newaxis], totals, np.nan)
        return np.repeat(rewards.astype(np.float32), size, axis=0)


class TextEvaluator(Evaluator):
    """Completes the task's prompts in order, starting over if there are too few."""

    env: TextGeneration
    kind_of_writer: ClassVar[type[Writer]] = Writer

    @override
    def build(self, jit_compile: bool) -> None:
        chosen = (self.env, self.policy, jit_compile, self.deterministic)
        self._writer = self.kind_of_writer(*chosen)

    @override
    def run(self, seed: int, max_steps: int | None = None) -> dict[str, Any]:
        with self.env.task.apart():  # from what training has measured
            return super().run(seed, max_steps)

    @override
    def play(self, seed: int, max_steps: int) -> Played:
        if max_steps < self.env.max_new_tokens:
            wanted = "must be at least `max_new_tokens`; make a task with fewer of them"
            checks.refuse("max_steps", wanted, max_steps)
        # The last call is filled up with later prompts.
        size = self.env.num_envs
        played = []
        for first in range(0, self.episodes, size):
            key = tf.constant([seed & 0x7FFFFFFF, first], tf.int32)
            indices = self.env.task.in_order(first, size)
            written = self._writer.write(indices, key, self.episodes - first)
            played.append((written.returns, written.counts))
        returns, lengths = (np.concatenate(rows) for rows in zip(*played, strict=True))
        return Played(returns, lengths, cut=0)
