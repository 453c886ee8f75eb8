"""Weighted sums of rewards, and how a batch of completions is scored."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from typing_extensions import Self, override

from kpg.language.rewards import checking
from kpg.language.rewards.reward import (
    Column,
    Reward,
    RewardFunction,
    Score,
    deserialize,
    serialize,
)
from kpg.types import Array, Config


@dataclass(frozen=True)
class Evaluation:
    """What the rewards said about B completions of up to T tokens.

    Attributes:
        total: float32 `[B, T]`, the weighted sum at each token: a token's reward stands
            there, that of a whole completion at its last token. 0 after the end and
            where `scored` is False.
        scored: bool `[B]`, False where every reward whose weight is not 0 was None:
            leave such a completion out. Where some were, the others make the total.
        parts: Each reward by its name, not weighted: float32 `[B]`, or `[B, T]` if it
            came for each token of at least one completion; nan where it was None.
    """

    total: Array
    scored: Array
    parts: dict[str, Array]

    def sums(self) -> dict[str, Array]:
        """Returns each reward of each completion, `[B]`; nan where it was None."""
        return {
            name: part if part.ndim == 1 else part.sum(axis=1)
            for name, part in self.parts.items()
        }

    def means(self) -> dict[str, float]:
        """Returns each reward's mean over the completions that it scored, or nan."""
        return {name: mean_of_known(part) for name, part in self.sums().items()}


def joined(parts: Sequence[Evaluation]) -> Evaluation:
    """Returns what was said about completions one after the other, part by part."""
    if len(parts) == 1:
        return parts[0]
    per_token = {
        name: all(part.parts[name].ndim == 2 for part in parts)
        for name in parts[0].parts
    }
    return Evaluation(
        np.concatenate([part.total for part in parts]),
        np.concatenate([part.scored for part in parts]),
        # Where only some parts have numbers for tokens, there are sums of all.
        {
            name: np.concatenate(
                [part.parts[name] if whole else part.sums()[name] for part in parts]
            )
            for name, whole in per_token.items()
        },
    )


def evaluate(
    rewards: Sequence[RewardFunction],
    weights: Sequence[float] | None,
    prompts: Sequence[str],
    completions: Sequence[str],
    columns: Mapping[str, Column | None] | None = None,
    *,
    num_tokens: int | None = None,
) -> Evaluation:
    """Scores completions by a weighted sum of rewards.

    Args:
        rewards: At least one callable with the signature of `Reward.__call__`. A
            `Weighted` counts as its parts, named "weighted/part". Functions that share
            a name, such as two lambdas, are numbered: "name", "name_2".
        weights: A finite number for each reward; None for 1 each. A reward of weight 0
            is only reported.
        prompts: B strings.
        completions: B strings.
        columns: B entries each, see `Reward.__call__`; None stands for no column.
            Without `completion_ids` each completion counts as one token, and there are
            no rewards per token. Defaults to none.
        num_tokens: T. Defaults to the length of the longest completion.

    Raises:
        ValueError: If a length differs from the batch's, two rewards share a name, a
            reward lacks a column, raises, or returns something that is not a score.
    """
    given = {k: column for k, column in (columns or {}).items() if column is not None}
    batch = checking.Completed(prompts, completions, given)
    checking.check_batch(batch)
    terms = _terms(rewards, weights)
    checking.check_columns([reward for reward, _ in terms.values()], given)
    tokens = checking.lengths(given, len(prompts))
    width = max(tokens) if num_tokens is None else num_tokens
    if width < max(tokens):
        raise ValueError(
            f"`num_tokens` must be {max(tokens)} or more, the length of the longest "
            f"completion. Received: {num_tokens}"
        )
    total = np.zeros((len(prompts), width), np.float64)
    scored = np.full(len(prompts), not any(weight for _, weight in terms.values()))
    parts = {}
    for name, (reward, weight) in terms.items():
        found = checking.rows(reward, name, batch)
        placed, whole = _placed(found, tokens, width)
        parts[name] = (placed.sum(axis=1) if whole else placed).astype(np.float32)
        missing = np.array([row is None for row in found])
        total += weight * np.where(missing[:, None], 0.0, placed)
        scored |= ~missing & (weight != 0.0)
    return Evaluation(total.astype(np.float32), scored, parts)


class Weighted(Reward):
    """A weighted sum of rewards, Σᵢ wᵢ · rᵢ.

    Where a part gives each token its own reward, so does the sum, and the other parts
    stand at the last token. Parts that are None are left out of the sum, which is None
    where all whose weight is not 0 are. For errors see `evaluate`.

    Args:
        rewards: At least one reward.
        weights: A finite number for each; None for 1 each. Defaults to None.
        name: What the logs call it; its parts are "name/part". Defaults to "weighted".
    """

    def __init__(
        self,
        rewards: Sequence[RewardFunction],
        weights: Sequence[float] | None = None,
        name: str = "weighted",
    ) -> None:
        super().__init__(name)
        self.weights = checking.check_weights(rewards, weights)
        self.rewards = list(rewards)
        # Finds names that clash now, not when the first batch has been sampled.
        self.terms = list(_terms(self.rewards, self.weights).values())
        needed = set().union(*(checking.required(reward) for reward, _ in self.terms))
        self.requires = tuple(sorted(needed))

    @override
    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Column
    ) -> list[Score]:
        found = evaluate(self.rewards, self.weights, prompts, completions, columns)
        per_token = any(part.ndim == 2 for part in found.parts.values())
        tokens = checking.lengths(columns, len(prompts))
        rows = zip(found.total, found.scored, tokens, strict=True)
        return [
            None if not scored else row[:count] if per_token else float(row.sum())
            for row, scored, count in rows
        ]

    @override
    def get_config(self) -> Config:
        """Returns the arguments; raises a `ValueError` if a part is a function."""
        parts = [serialize(reward) for reward in self.rewards]
        return {"rewards": parts, "weights": self.weights, "name": self.name}

    @classmethod
    @override
    def from_config(cls, config: Config) -> Self:
        parts = [deserialize(part) for part in config["rewards"]]
        return cls(**{**config, "rewards": parts})


def _terms(
    rewards: Sequence[RewardFunction], weights: Sequence[float] | None
) -> dict[str, tuple[RewardFunction, float]]:
    """Returns rewards and weights by name; a sum is replaced by its parts."""
    terms: dict[str, tuple[RewardFunction, float]] = {}
    numbers = checking.check_weights(rewards, weights)
    for reward, weight in zip(rewards, numbers, strict=True):
        name = checking.name_of(reward)
        another = all(reward is not known for known, _ in terms.values())
        if another and not getattr(reward, "name", None):  # nor does it take `name=`
            numbered = (f"{name}_{number}" for number in itertools.count(2))
            names = itertools.chain([name], numbered)
            name = next(name for name in names if name not in terms)
        inner = {name: (reward, weight)}
        if isinstance(reward, Weighted):
            parts = _terms(reward.rewards, reward.weights).items()
            inner = {f"{name}/{part}": (r, weight * w) for part, (r, w) in parts}
        if twice := sorted(terms.keys() & inner.keys()):
            raise ValueError(
                "Each reward must have a name of its own; give `name=` to one of them. "
                f"Received: {twice} twice"
            )
        terms |= inner
    return terms


def mean_of_known(values: Array) -> float:
    """Returns the mean of the numbers that are not nan; nan if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _placed(
    found: Sequence[Score], tokens: Sequence[int], width: int
) -> tuple[Array, bool]:
    """Returns rows as `[B, T]`, and whether all are of whole completions."""
    placed = np.zeros((len(found), width), np.float64)
    for index, (row, count) in enumerate(zip(found, tokens, strict=True)):
        if row is None:
            placed[index] = np.nan
        elif isinstance(row, np.ndarray):
            placed[index, :count] = row
        else:
            placed[index, count - 1] = row
    return placed, not any(isinstance(row, np.ndarray) for row in found)
