"""Prompts, what is known of them, and rewards for what follows them."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from kpg import checks
from kpg.language.prompt_stream import PromptStream
from kpg.language.prompts import FROM_POLICY, prompts_of
from kpg.language.rewards.checking import Completed as Completed
from kpg.language.rewards.checking import check_columns
from kpg.language.rewards.reward import Column, Columns, RewardFunction
from kpg.language.rewards.weighted import Evaluation, Weighted, evaluate, mean_of_known
from kpg.language.tokenizers.chat import Prompt
from kpg.types import Array


class Judged(NamedTuple):
    """A completion and its rewards by name; nan where a reward was None."""

    prompt: str
    completion: str
    rewards: dict[str, float]


class Reader(Protocol):
    """What a task needs of a language policy."""

    def padded(
        self, prompts: Sequence[Prompt], /, limit: int | None = None, side: str = ""
    ) -> tuple[Array, Array]:
        """Returns tokens `[N, P]` int32, padded on the right, and lengths `[N]`.

        With a side, "left" or "right", what is above the limit is cut off there.
        """
        ...

    def check_room(self, prompt_tokens: int, max_new_tokens: int, /) -> None:
        """Refuses texts that are longer than the policy can read."""
        ...


class TextTask:
    """Prompts to complete, and rewards that say how well it was done.

    For the arguments, `columns` and the errors see `kpg.environments.TextGeneration`;
    `own_columns` name what `score` is given beside those of `FROM_POLICY`.
    `completed` is what was scored last, or `None`. `prompts` and `columns` are of all
    prompts, or of those that were drawn last if they come as a stream.
    """

    def __init__(
        self,
        prompts: Iterable[Any] | PromptStream,
        references: Column | None,
        rewards: Sequence[RewardFunction],
        reward_weights: Sequence[float] | None,
        columns: Columns | None,
        max_new_tokens: int,
        own_columns: Sequence[str] = (),
        truncate_prompts: str | None = None,
    ) -> None:
        checks.choice("truncate_prompts", truncate_prompts, (None, "left", "right"))
        self._truncate = truncate_prompts
        given = dict(columns or {})
        if references is not None:
            given["references"] = references
        self._stream: PromptStream | None = None
        if isinstance(prompts, PromptStream):
            if given:
                wanted = "come with the rows of a stream, not beside it"
                checks.refuse("columns", wanted, sorted(given))
            self._stream, prompts = prompts, prompts.take(0, 1)
        # Shared by copies of the task, since a stream has no second reader.
        self._own_columns = tuple(own_columns)
        self._rows = [prompts_of(prompts, given, own_columns)]
        of_task = (*FROM_POLICY, *own_columns)
        self.reward = Weighted(rewards, reward_weights)
        check_columns(rewards, [*self.columns, *of_task])
        self.max_new_tokens = max_new_tokens
        self.completed: Completed | None = None
        self._scores: Evaluation | None = None
        # Which rewards give numbers to tokens shows when they are called.
        self._of_tokens = [term for term in self.reward.terms if term[1]]
        self._measures: dict[str, list[Array]] = {}

    @property
    def prompts(self) -> list[str]:
        """What rewards see of the prompts."""
        return self._rows[0].texts

    @property
    def columns(self) -> dict[str, list[Any]]:
        """What is known of each prompt."""
        return self._rows[0].columns

    @property
    def streams(self) -> bool:
        """Whether prompts come one after another."""
        return self._stream is not None

    def in_order(self, first: int, count: int) -> Array:
        """Returns `count` prompts from `first` on, over and over if there are few."""
        if self._stream is None:
            return np.arange(first, first + count) % len(self.prompts)
        known = sorted(self.columns)
        rows = self._stream.take(first, count)
        self._rows[0] = prompts_of(rows, own_columns=self._own_columns)
        if sorted(self.columns) != known:
            wanted = "must stay the same in all rows of a stream"
            checks.refuse("columns", wanted, sorted(self.columns))
        return np.arange(count)

    def drawn(self, places: range, seed: int) -> Array:
        """Returns the prompts at places of an endless sequence, shuffled every pass.

        A stream keeps its own order.
        """
        if self._stream is not None:
            return self.in_order(places.start, len(places))
        total = len(self.prompts)

        @functools.cache
        def order(number: int) -> Array:
            return np.random.default_rng([seed, number]).permutation(total)

        drawn = [order(place // total)[place % total] for place in places]
        return np.array(drawn, np.int64)

    def padded(self, policy: Reader, max_prompt_tokens: int) -> tuple[Array, Array]:
        """Returns all prompts `[N, P]` int32, padded on the right; lengths `[N]`.

        P is that of the longest prompt, or of a stream `max_prompt_tokens`.
        """
        given, side = self._rows[0].given, self._truncate
        if side is None:
            tokens, lengths = policy.padded(given)
        else:
            tokens, lengths = policy.padded(given, max_prompt_tokens, side)
        wrong = np.flatnonzero(lengths > max_prompt_tokens)
        if len(wrong):
            text, count = self.prompts[wrong[0]], lengths[wrong[0]]
            raise ValueError(
                "A prompt must have at most `max_prompt_tokens`; shorten it, raise the "
                "limit, or set `truncate_prompts`. Received: "
                f"max_prompt_tokens={max_prompt_tokens}, and {count} tokens of {text!r}"
            )
        if self.streams:
            room = max_prompt_tokens - tokens.shape[1]
            tokens = np.pad(tokens, [(0, 0), (0, room)])
        policy.check_room(tokens.shape[1], self.max_new_tokens)
        return tokens, lengths

    def score(
        self,
        indices: Array,
        completions: Sequence[str],
        prompt_ids: Sequence[Array],
        completion_ids: Sequence[Array],
        ended: Sequence[bool],
        counted: Array | None = None,
        known: Mapping[str, Array] | None = None,
        **more: Column,
    ) -> Evaluation:
        """Calls all rewards for B completions of the prompts `indices`.

        `prompt_ids`, `completion_ids`, `ended` and `more` are columns of `Completed`;
        see `take` for `counted` and `known`.
        """
        columns = (completions, prompt_ids, completion_ids, ended)
        completed = self.known(indices, *columns, **more)
        return self.take(completed, self.judge(completed), counted, known)

    def judge(self, completed: Completed) -> Evaluation:
        """Calls all rewards for completions; may run in a thread of its own."""
        rewards, weights = self.reward.rewards, self.reward.weights
        return evaluate(rewards, weights, *completed, num_tokens=self.max_new_tokens)

    def take(
        self,
        completed: Completed,
        scores: Evaluation,
        counted: Array | None = None,
        known: Mapping[str, Array] | None = None,
    ) -> Evaluation:
        """Lets `completed`, `judged` and `measured` tell of what was judged.

        `measured` tells of those that are `counted`, `[B]` bool, by default all, and of
        what else is `known` of them, `[B]` numbers.
        """
        self.completed = completed
        measures = {f"reward/{name}": sums for name, sums in scores.sums().items()}
        measures["ended"] = np.asarray(completed.columns["ended"], np.float32)
        measures["scored"] = scores.scored.astype(np.float32)
        measures |= known or {}
        if counted is not None:
            measures = {name: rows[counted] for name, rows in measures.items()}
        self.measure(**measures)
        self._scores = scores
        return scores

    def measure(self, **rows: Array) -> None:
        """Lets `measured` tell of some more numbers, by name; nan is none."""
        for name, own in rows.items():
            self._measures.setdefault(name, []).append(own)

    def judged(self) -> list[Judged]:
        """Returns what was scored last, text by text."""
        if self.completed is None or self._scores is None:
            return []
        sums = self._scores.sums()
        pairs = zip(self.completed.prompts, self.completed.completions, strict=True)
        return [
            Judged(*pair, {name: float(rows[index]) for name, rows in sums.items()})
            for index, pair in enumerate(pairs)
        ]

    @property
    def scores_tokens(self) -> bool:
        """Whether a reward may give numbers to single tokens."""
        return bool(self._of_tokens)

    def so_far(self, *written: Any, **more: Any) -> Array:
        """Returns the sums `[B]` of what tokens have earned in texts that go on.

        Takes the arguments of `score`. A reward that gives numbers to whole completions
        alone is not asked again.
        """
        batch, kept = self.known(*written, **more), []
        total = np.zeros(len(batch.prompts))
        for reward, weight in self._of_tokens:
            found = evaluate([reward], [weight], *batch)
            (part,) = found.parts.values()
            if part.ndim == 2:
                total += found.total.sum(axis=1, dtype=np.float64)
            if part.ndim == 2 or np.isnan(part).all():
                kept.append((reward, weight))
        self._of_tokens = kept
        return total

    def known(
        self,
        indices: Array,
        completions: Sequence[str],
        prompt_ids: Sequence[Array],
        completion_ids: Sequence[Array],
        ended: Sequence[bool],
        **more: Column,
    ) -> Completed:
        """Returns completions with all their columns."""
        columns: dict[str, Column] = {
            name: [values[index] for index in indices]
            for name, values in self.columns.items()
        }
        columns["prompt_ids"], columns["completion_ids"] = prompt_ids, completion_ids
        columns |= {"ended": ended, **more}
        prompts = [self.prompts[index] for index in indices]
        return Completed(prompts, completions, columns)

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Makes `measured` tell of this while only, and then of what was before it."""
        before, self._measures = self._measures, {}
        try:
            yield
        finally:
            self._measures = before

    def measured(self) -> dict[str, float]:
        """Returns means since the last call: each reward, the texts `ended`, `scored`.

        Of each reward also the standard deviation, `reward_std/NAME`, and the share of
        texts that it scored, `reward_scored/NAME`; and what `measure` was told. A
        warning says if there were texts and none was scored.
        """
        measures, self._measures = self._measures, {}
        means: dict[str, float] = {}
        for name, parts in measures.items():
            rows = np.concatenate(parts)
            known = rows[~np.isnan(rows)]
            means[name] = mean_of_known(rows)
            kind, _, reward = name.partition("/")
            if kind == "reward":
                spread = float(known.std()) if known.size else float("nan")
                means[f"reward_std/{reward}"] = spread
                means[f"reward_scored/{reward}"] = known.size / max(rows.size, 1)
        if means.get("scored") == 0.0:
            warnings.warn(
                "No completion was scored: every reward whose weight is not 0 was "
                "None, so that nothing is learned. Look at the completions, and return "
                "a number where one is meant.",
                stacklevel=2,
            )
        return means
