"""Prompts, what is known of them, and rewards for what follows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kpg.rewards import Evaluation, RewardFunction, Weighted, check_columns, evaluate

Array = np.ndarray[Any, Any]

_FROM_POLICY = ("prompt_ids", "completion_ids", "ended")


class Completed(NamedTuple):
    """B completions and what is known of them.

    Attributes:
        prompts: B strings.
        completions: B strings, without the end token.
        columns: Lists of B values that rewards may ask for by name: the task's own
            columns, `references` if there are any, `prompt_ids` and `completion_ids`
            (int32 arrays `[length]`, the latter with the end token) and `ended`
            (whether the end token came before the limit).
    """

    prompts: Sequence[str]
    completions: Sequence[str]
    columns: Mapping[str, Sequence[Any]]


class TextTask:
    """What shall be completed, and how well it was.

    Args:
        prompts: Strings, none empty.
        references: See `kpg.environments.TextGeneration`.
        rewards: See `kpg.environments.TextGeneration`.
        reward_weights: See `kpg.environments.TextGeneration`.
        columns: See `kpg.environments.TextGeneration`.
        max_new_tokens: Tokens of a completion at most.

    Attributes:
        prompts: N strings.
        columns: Lists of N values by name, `references` among them.
        reward: The weighted sum of the rewards.
        completed: What was scored last, or `None`.

    Raises:
        ValueError: If a prompt is empty, lists differ in length, or a reward wants a
            column that there is not.
    """

    def __init__(
        self,
        prompts: Sequence[str],
        references: Sequence[Any] | None,
        rewards: Sequence[RewardFunction],
        reward_weights: Sequence[float] | None,
        columns: Mapping[str, Sequence[Any]] | None,
        max_new_tokens: int,
    ) -> None:
        self.prompts = _checked_prompts(prompts)
        self.columns = dict(columns or {})
        if references is not None:
            self.columns["references"] = references
        _check_columns(self.columns, len(self.prompts))
        self.reward = Weighted(rewards, reward_weights)
        check_columns(rewards, [*self.columns, *_FROM_POLICY])
        self.max_new_tokens = max_new_tokens
        self.completed: Completed | None = None
        self._measures: list[dict[str, Array]] = []

    def drawn(self, places: Iterable[int], seed: int) -> Array:
        """Returns which prompts have their turn at places of an endless sequence.

        It is shuffled anew for every pass over the prompts.
        """
        total, orders = len(self.prompts), dict[int, Array]()
        prompts = []
        for place in places:
            number, turn = divmod(place, total)
            if number not in orders:
                random = np.random.default_rng([seed, number])
                orders[number] = random.permutation(total)
            prompts.append(orders[number][turn])
        return np.array(prompts, np.int64)

    def padded(self, writer: Any, max_prompt_tokens: int) -> tuple[Array, Array]:
        """Returns all prompts `[N, P]` int32, padded on the right, and their lengths.

        Args:
            writer: The language policy that goes on with them.
            max_prompt_tokens: Longest prompt.

        Raises:
            ValueError: If a prompt is longer, or the policy cannot read so much.
        """
        tokens, lengths = writer.padded(self.prompts)
        wrong = np.flatnonzero(lengths > max_prompt_tokens)
        if len(wrong):
            raise ValueError(
                "A prompt must have at most `max_prompt_tokens`; shorten it or raise "
                f"the limit. Received: max_prompt_tokens={max_prompt_tokens}, and "
                f"{lengths[wrong[0]]} tokens of {self.prompts[wrong[0]]!r}"
            )
        writer.check_room(tokens.shape[1], self.max_new_tokens)
        return tokens, lengths

    def score(
        self,
        indices: Array,
        completions: Sequence[str],
        prompt_ids: Sequence[Array],
        completion_ids: Sequence[Array],
        ended: Sequence[bool],
    ) -> Evaluation:
        """Asks all rewards.

        Args:
            indices: `[B]`, which prompts were completed.
            completions: B strings.
            prompt_ids: B int32 arrays, the tokens of each prompt.
            completion_ids: B int32 arrays, of each completion, its end included.
            ended: Whether each completion ended before the limit.

        Raises:
            ValueError: If a reward fails, or answers with something else than it may.
        """
        columns: dict[str, Sequence[Any]] = {
            name: [values[index] for index in indices]
            for name, values in self.columns.items()
        }
        from_policy = (prompt_ids, completion_ids, ended)
        columns |= dict(zip(_FROM_POLICY, from_policy, strict=True))
        prompts = [self.prompts[index] for index in indices]
        self.completed = Completed(prompts, completions, columns)
        scores = evaluate(
            self.reward.rewards,
            self.reward.weights,
            *self.completed,
            num_tokens=self.max_new_tokens,
        )
        measures = {f"reward/{name}": sums for name, sums in scores.sums().items()}
        self._measures.append({**measures, "ended": np.asarray(ended, np.float32)})
        return scores

    def measured(self) -> dict[str, float]:
        """See `Environment.measured`: the mean of each reward, and how many ended."""
        measures, self._measures = self._measures, []
        names = measures[0] if measures else ()
        return {name: _mean([row[name] for row in measures]) for name in names}


def check_counts(**counts: Any) -> None:
    """Refuses what is no positive integer, by name.

    Raises:
        ValueError: If there is one.
    """
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(
                f"`{name}` must be a positive integer. Received: {name}={count!r}"
            )


def _mean(rows: list[Array]) -> float:
    values = np.concatenate(rows)
    known = values[~np.isnan(values)]
    return float(np.mean(known)) if known.size else float("nan")


def _checked_prompts(prompts: Sequence[str]) -> list[str]:
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    for index, prompt in enumerate(prompts):
        if not isinstance(prompt, str) or not prompt:
            raise ValueError(
                "Each prompt must be a string that is not empty: the first token of a "
                f"completion follows one. Received: prompts[{index}]={prompt!r}"
            )
    if not prompts:
        raise ValueError("`prompts` must hold at least one. Received: prompts=[]")
    return prompts


def _check_columns(columns: Mapping[str, Sequence[Any]], count: int) -> None:
    for name, values in columns.items():
        if isinstance(values, str) or len(values) != count:
            raise ValueError(
                f"`{name}` must hold one value for each of {count} prompts. Received: "
                f"{len(values)}"
            )
        if name in _FROM_POLICY:
            raise ValueError(
                f"The columns {', '.join(_FROM_POLICY)} come from the policy. "
                f"Received: columns with {name!r}"
            )
