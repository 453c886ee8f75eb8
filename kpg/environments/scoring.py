"""Reward functions of texts: what they are called with, and what they may answer."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Reward = Callable[..., Sequence[Any]]
Array = np.ndarray[Any, Any]


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

    @property
    def lengths(self) -> list[int]:
        """Tokens of each completion, the end token included."""
        return [len(tokens) for tokens in self.columns["completion_ids"]]

    def row(self, index: int) -> Completed:
        """Returns one completion alone."""
        columns = {name: [values[index]] for name, values in self.columns.items()}
        return Completed([self.prompts[index]], [self.completions[index]], columns)


class Scores(NamedTuple):
    """What all rewards together say.

    Attributes:
        rewards: `[T, B]` float32, weighted and added up; what is said of a whole
            completion stands at its last token.
        scored: `[B]` bool, whether any reward had something to say.
        means: Mean of each reward over the completions that it scored, unweighted; of a
            reward for each token, their sum counts.
    """

    rewards: Array
    scored: Array
    means: dict[str, float]


class Scorer:
    """Calls reward functions and adds up what they answer.

    Args:
        rewards: Functions `(prompts, completions, **columns)` that return for each
            completion a number, an array of one number for each of its tokens, or
            `None` where they have nothing to say. They are given the columns that they
            name, or all if they take `**columns`.
        weights: One for each reward. Defaults to 1 each.
        columns: Names of the columns that there will be.

    Raises:
        ValueError: If there is no reward, a weight is missing, or a reward wants a
            column that there is not.
    """

    def __init__(
        self,
        rewards: Sequence[Reward],
        weights: Sequence[float] | None,
        columns: Sequence[str],
    ) -> None:
        self.rewards = list(rewards)
        if not self.rewards or not all(map(callable, self.rewards)):
            raise ValueError(
                "`rewards` must be a list of at least one function (prompts, "
                f"completions, **columns). Received: rewards={rewards!r}"
            )
        self.weights = [1.0] * len(self.rewards) if weights is None else list(weights)
        if (
            len(self.weights) != len(self.rewards)
            or not np.isfinite(self.weights).all()
        ):
            raise ValueError(
                "`reward_weights` must hold a finite number for each reward. Received: "
                f"{len(self.rewards)} rewards, reward_weights={weights!r}"
            )
        self.names = _names(self.rewards)
        self._wanted = [
            _wanted(*pair, columns)
            for pair in zip(self.names, self.rewards, strict=True)
        ]

    def __call__(self, batch: Completed, num_steps: int) -> Scores:
        """Scores completions of at most `num_steps` tokens.

        Raises:
            ValueError: If a reward fails, or answers with something else.
        """
        total = np.zeros([num_steps, len(batch.prompts)], np.float32)
        scored = np.zeros(len(batch.prompts), bool)
        means = {}
        for index, name in enumerate(self.names):
            answers = self._answers(index, batch)
            sums = []
            for row, answer in enumerate(answers):
                if answer is None:
                    continue
                numbers = _per_token(name, answer, batch.row(row))
                total[: len(numbers), row] += self.weights[index] * numbers
                sums.append(float(numbers.sum()))
            scored |= [answer is not None for answer in answers]
            means[name] = float(np.mean(sums)) if sums else math.nan
        return Scores(total, scored, means)

    def _answers(self, index: int, batch: Completed) -> list[Any]:
        name, reward, wanted = (
            self.names[index],
            self.rewards[index],
            self._wanted[index],
        )
        columns = {key: batch.columns[key] for key in wanted}
        try:
            answers = list(reward(batch.prompts, batch.completions, **columns))
        except Exception as error:
            raise _failure(name, reward, wanted, batch, error) from error
        if len(answers) != len(batch.prompts):
            raise ValueError(
                f"The reward {name!r} must answer for each of {len(batch.prompts)} "
                f"completions. Received: {len(answers)} answers, for the first prompt "
                f"{batch.prompts[0]!r}"
            )
        return answers


def _names(rewards: Sequence[Reward]) -> list[str]:
    """Returns a name for each reward; of equal ones the later get a number."""
    names: list[str] = []
    for reward in rewards:
        own = getattr(reward, "name", None) or getattr(reward, "__name__", None)
        name = base = str(own or type(reward).__name__)
        count = 1
        while name in names:
            count += 1
            name = f"{base}_{count}"
        names.append(name)
    return names


def _wanted(name: str, reward: Reward, columns: Sequence[str]) -> list[str]:
    """Returns the columns that a reward is called with."""
    parameters = list(inspect.signature(reward).parameters.values())
    named = [p for p in parameters[2:] if p.kind is not p.VAR_KEYWORD]
    needed = [p.name for p in named if p.default is p.empty]
    # The rewards of `kpg.rewards` take all, and say in `requires` what they need.
    needed += getattr(reward, "requires", ())
    missing = [name for name in needed if name not in columns]
    if missing:
        raise ValueError(
            f"The reward {name!r} wants columns that the task does not have; give them "
            "as `references=` or in `columns=`. Received: no "
            f"{', '.join(missing)}, but {', '.join(columns)}"
        )
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return list(columns)
    return [p.name for p in named if p.name in columns]


def _per_token(name: str, answer: Any, row: Completed) -> Array:
    """Returns `[length]` float32 rewards of one completion."""
    numbers = np.asarray(answer, np.float32)
    (length,) = row.lengths
    if not np.isfinite(numbers).all() or numbers.shape not in ((), (length,)):
        raise ValueError(
            f"The reward {name!r} must answer with a finite number, with one for each "
            f"of the completion's {length} tokens, or with None. Received: {answer!r} "
            f"for the prompt {row.prompts[0]!r} and the completion "
            f"{row.completions[0]!r}"
        )
    if numbers.ndim:
        return numbers
    rewards = np.zeros(length, np.float32)
    rewards[-1] = numbers
    return rewards


def _failure(
    name: str, reward: Reward, wanted: list[str], batch: Completed, error: Exception
) -> ValueError:
    """Finds the first completion that the reward fails on alone, and says so."""
    for index in range(len(batch.prompts)):
        row = batch.row(index)
        columns = {key: row.columns[key] for key in wanted}
        try:
            list(reward(row.prompts, row.completions, **columns))
        except Exception:
            return ValueError(
                f"The reward {name!r} raised {type(error).__name__}: {error}. "
                f"Received: the prompt {row.prompts[0]!r} and the completion "
                f"{row.completions[0]!r}"
            )
    return ValueError(
        f"The reward {name!r} raised {type(error).__name__}: {error}. Received: "
        f"{len(batch.prompts)} completions together, of which none fails alone; the "
        f"first prompt is {batch.prompts[0]!r}"
    )
