"""Conversations of a policy with an environment that answers."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg.graph import random
from kpg.language.conversation import Conversation
from kpg.language.rewards.checking import Completed
from kpg.models.language.decoding.sampling import Completions
from kpg.models.language.seq2seq_trunk import Seq2SeqTrunk
from kpg.trainers.language.engine import TextEngine
from kpg.trainers.language.writing import TextEvaluator, Writer, Written
from kpg.trainers.running.kinds import Kind
from kpg.types import Array


class Talker(Writer):
    """Lets a policy hold conversations of a task, and has them scored.

    In what it returns, tokens of answers are not valid, and `counts` leaves them out.
    """

    env: Conversation

    @property
    @override
    def _at_a_time(self) -> int:
        if isinstance(self.policy.trunk, Seq2SeqTrunk):
            raise ValueError(
                "A conversation goes on behind what was said, which a Seq2SeqLM does "
                "not; use a `kpg.models.CausalLMPolicy`. Received: "
                f"{type(self.policy).__name__}"
            )
        return self.env.max_turn_tokens

    @property
    @override
    def _alike(self) -> int:
        return 1  # only the first turn is read behind prompts alone

    @override
    def write(
        self, indices: Array, seed: tf.Tensor, wanted: int | None = None
    ) -> Written:
        """Each turn is a call, which reads all that was said before."""
        env = self.env
        prompts, lengths = self._given(indices)
        said = Transcript(prompts, lengths, env.max_new_tokens)
        room = said.tokens.shape[1] - env.max_turn_tokens
        going = np.arange(len(indices))[:wanted]
        for turn, key in enumerate(random.seeds([env.max_turns], seed)):
            # What is over is written on with the others, and dropped.
            texts = (said.tokens[:, :room], said.lengths)
            written = self.function(*map(tf.constant, texts), key)
            rows = said.add_turns(going, written)
            for row, tokens, text in zip(
                going, rows, self.policy.texts(rows), strict=True
            ):
                said.turns[row].append(text)
                said.ended[row] = self.policy.ending.ended(tokens)
            if turn + 1 < env.max_turns:
                going = self._answered(said, indices, going)
            if not len(going):
                break
        return self._scored(said, indices, np.arange(len(indices))[:wanted])

    def _answered(self, said: Transcript, indices: Array, rows: Array) -> Array:
        """Adds what is answered in rows; returns those that go on."""
        answers = self.env.answers(self._known(said, indices, rows))
        pairs = zip(rows, answers, strict=True)
        texts = {row: answer for row, answer in pairs if answer is not None}
        if not texts:
            return np.zeros(0, np.int64)
        codec, limit = self.policy.codec, self.env.max_reply_tokens
        tokens = codec.encode(list(texts.values()))
        for (row, text), answer in zip(texts.items(), tokens, strict=True):
            too_long = len(answer) > limit
            said.cut[row] += too_long
            said.add_answer(row, answer[:limit])
            read = codec.decode([answer[:limit]])[0] if too_long else text
            said.turns[row].append(read)
        return np.array(list(texts))

    def _known(self, said: Transcript, indices: Array, rows: Array) -> Completed:
        """Returns the conversations in rows with all their columns."""
        ids = [said.completion_ids(row) for row in rows]
        return self.env.task.known(
            indices[rows],
            ["".join(said.turns[row]) for row in rows],
            [said.prompt_ids(row) for row in rows],
            ids,
            said.ended[rows].tolist(),
            turns=[list(said.turns[row]) for row in rows],
        )

    def _scored(self, said: Transcript, indices: Array, rows: Array) -> Written:
        """Has the conversations in rows scored, all of which are over."""
        _, completions, columns = self._known(said, indices, rows)
        given = (columns[n] for n in ("prompt_ids", "completion_ids", "ended"))
        turns = np.array([len(said.turns[row]) // 2 + 1 for row in rows], np.float32)
        known = {"turns": turns, "cut_replies": said.cut[rows]}
        scores = self.env.score(
            indices[rows], completions, *given, known=known, turns=columns["turns"]
        )
        scores.total[:] = credited(scores.total, said.own[rows])
        return Written(
            said.prompts,
            said.prompt_lengths,
            said.completions(),
            said.own[rows].sum(1),
            scores,
            said.ended[rows],
        )


class Transcript:
    """What was said in B conversations, on the host.

    `tokens`, `[B, P + T]` int32, are prompts and all that followed, `lengths`, `[B]`,
    how many there are, `turns` the same as strings without the prompts; `own`,
    `[B, T]` bool, says which of those behind the prompt the policy wrote, `log_probs`
    and `values`, `[B, T]`, what it thought of these; `ended`, `[B]` bool, whether its
    last turn did so by itself; `cut`, `[B]`, counts answers that were too long.
    """

    def __init__(self, prompts: Array, lengths: Array, new_tokens: int) -> None:
        self.prompts, self.prompt_lengths = prompts, lengths
        self.tokens = np.pad(prompts, [(0, 0), (0, new_tokens)])
        self.lengths = lengths.copy()
        shape = (len(prompts), new_tokens)
        self.own = np.zeros(shape, bool)
        self.log_probs, self.values = np.zeros((2, *shape), np.float32)
        self.turns: list[list[str]] = [[] for _ in prompts]
        self.ended = np.zeros(len(prompts), bool)
        self.cut = np.zeros(len(prompts), np.float32)

    def add_turns(self, rows: Array, written: Completions) -> list[Array]:
        """Adds a turn of the policy in each of `[R]` rows; returns its tokens."""
        tokens, log_probs, values, valid = (part.numpy().T for part in written)
        counts, turns = valid.sum(1), []
        for row in rows:
            first, count = self.lengths[row] - self.prompt_lengths[row], counts[row]
            new = slice(first, first + count)
            self.own[row, new] = True
            self.log_probs[row, new] = log_probs[row, :count]
            self.values[row, new] = values[row, :count]
            turns.append(tokens[row, :count])
            self.add_answer(row, turns[-1])
        return turns

    def add_answer(self, row: int, tokens: Array) -> None:
        """Adds tokens behind what was said in a row."""
        first = self.lengths[row]
        self.tokens[row, first : first + len(tokens)] = tokens
        self.lengths[row] += len(tokens)

    def prompt_ids(self, row: int) -> Array:
        """Returns the tokens of a prompt."""
        return self.tokens[row, : self.prompt_lengths[row]].copy()

    def completion_ids(self, row: int) -> Array:
        """Returns the tokens behind a prompt."""
        return self.tokens[row, self.prompt_lengths[row] : self.lengths[row]].copy()

    def completions(self) -> Completions:
        """Returns all of it; tokens of answers are not valid."""
        room = self.own.shape[1]
        places = self.prompt_lengths[:, np.newaxis] + np.arange(room)
        tokens = np.take_along_axis(self.tokens, places, axis=1)
        parts = (tokens, self.log_probs, self.values, self.own)
        return Completions(*(tf.constant(part.T) for part in parts))


def credited(rewards: Array, own: Array) -> Array:
    """Moves rewards of others' tokens to the policy's last token before them.

    Both are `[B, T]`; the first token of a row that counts is the policy's.
    """
    places = np.where(own, np.arange(own.shape[1]), 0)
    last = np.maximum.accumulate(places, axis=1)
    moved = np.zeros_like(rewards)
    rows = np.arange(len(rewards))[:, np.newaxis]
    np.add.at(moved, (rows, last), rewards)
    return moved


class TalkEngine(TextEngine):
    """Learns from conversations."""

    kind_of_writer = Talker


class TalkEvaluator(TextEvaluator):
    """Holds conversations from the task's prompts, in order."""

    kind_of_writer = Talker


KIND = Kind(TalkEngine, TalkEvaluator, saved_by_update=math.inf)
