"""How rewards are called, and what is said when one fails or returns no scores."""

from __future__ import annotations

import inspect
import math
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
    Sized,
)
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from kpg.language.rewards.reward import Columns, Reward, RewardFunction, Score


class Completed(NamedTuple):
    """B completions and what is known of them.

    Texts have no end token. `columns` are those of `Reward.__call__`, B entries each;
    `prompt_ids` and `completion_ids` of a task are int32 arrays.
    """

    prompts: Sequence[str]
    completions: Sequence[str]
    columns: Columns


_LARGEST = float(np.finfo(np.float32).max)


def name_of(reward: Callable[..., object]) -> str:
    """Returns what the logs call a reward: its `name`, or that of the function."""
    name = getattr(reward, "name", None) or getattr(reward, "__name__", None)
    return str(name or type(reward).__name__)


def check_weights(
    rewards: Sequence[RewardFunction], weights: Sequence[float] | None
) -> list[float]:
    """Returns a finite weight for each reward, 1 if None is given."""
    if isinstance(rewards, str | Mapping) or not isinstance(rewards, Sequence):
        raise ValueError(f"`rewards` must be a list. Received: {rewards!r}")
    wrong = [reward for reward in rewards if not callable(reward)]
    if wrong or not rewards:
        raise ValueError(
            "`rewards` must hold one callable or more, such as `kpg.rewards.RougeL()`. "
            f"Received: {wrong[0] if wrong else rewards!r}"
        )
    given = [1.0] * len(rewards) if weights is None else weights
    numbers = list(given) if isinstance(given, Iterable) else []
    if len(numbers) != len(rewards) or not all(map(_is_number, numbers)):
        raise ValueError(
            f"`weights` must be {len(rewards)} finite numbers, one for each reward. "
            f"Received: {weights}"
        )
    return [float(number) for number in numbers]


def required(reward: Callable[..., object]) -> set[str]:
    """Returns the columns without which a reward cannot be called."""
    if isinstance(reward, Reward):
        return set(reward.requires)
    needed = {
        p.name
        for p in _parameters(reward)
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    }
    return needed - {"prompts", "completions"}


def check_columns(
    rewards: Sequence[RewardFunction], available: Collection[str]
) -> None:
    """Refuses rewards that need a column which is not `available`: a `ValueError`.

    Call it before anything is sampled: a reward itself finds out late. A `Reward` says
    what it needs in `requires`, any other by its arguments without a default.
    """
    for reward in rewards:
        if missing := sorted(required(reward) - set(available)):
            raise ValueError(
                f"The reward {name_of(reward)!r} needs {', '.join(missing)}, with one "
                f"entry for each prompt. Received: columns {sorted(available)}"
            )


def check_batch(batch: Completed) -> None:
    """Refuses prompts, completions and columns that are not B ≥ 1 entries each."""
    for name in ("prompts", "completions"):
        texts: Sequence[str] = getattr(batch, name)
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"`{name}` must be a list of strings. Received: {texts!r}")
    counts = {"prompts": len(batch.prompts), "completions": len(batch.completions)}
    for name, column in batch.columns.items():
        counts[name] = len(column) if isinstance(column, Sized) else 0
    if set(counts.values()) != {counts["prompts"]} or counts["prompts"] == 0:
        raise ValueError(
            "Prompts, completions and columns must have the same number of entries, at "
            f"least one. Received: {counts}"
        )


def lengths(columns: Columns, count: int) -> list[int]:
    """Returns how many tokens each completion has; 1 each without `completion_ids`."""
    ids = columns.get("completion_ids")
    found = [1] * count if ids is None else [len(row) for row in ids]
    if min(found) < 1:
        raise ValueError(
            "Every completion must have a token that its reward goes to; the end token "
            f"counts. Received: no token in row {found.index(0)}"
        )
    return found


def rows(reward: RewardFunction, name: str, batch: Completed) -> list[Score]:
    """Calls one reward and refuses what is not a score, with its prompt and completion.

    Returns B finite floats, finite float64 arrays `[tokens]`, or None.
    """
    whose, otherwise = f"reward {name!r}", "return None for what cannot be scored"
    found = _plain(called(reward, whose, batch, otherwise))
    size = len(batch.prompts)
    if not _is_list(found) or len(found) != size:
        wanted = f"must return {size} scores, one for each completion"
        received = f"{len(found)} scores" if _is_list(found) else repr(found)
        raise _refusal(whose, wanted, received, batch, 0)
    ids = batch.columns.get("completion_ids")
    counts = [None] * size if ids is None else [len(row) for row in ids]
    scores = [_plain(row) for row in found]
    for index, (row, count) in enumerate(zip(scores, counts, strict=True)):
        if problem := _problem(row, count):
            raise _refusal(whose, *problem, batch, index)
    return [_as_score(row) for row in scores]


def accepted(function: Callable[..., object], given: Columns) -> Columns:
    """Returns the columns that a function takes: all, or those that it names."""
    if any(p.kind is p.VAR_KEYWORD for p in _parameters(function)):
        return given
    named = {p.name for p in _parameters(function)}
    return {key: column for key, column in given.items() if key in named}


def called(
    function: Callable[..., object], whose: str, batch: Completed, otherwise: str
) -> object:
    """Calls a function, giving it the columns that it asks for.

    If it raises, so does this: a `ValueError` that says `whose` it is, which completion
    makes it raise, and what to do `otherwise`.
    """
    prompts, completions, columns = batch
    given: Columns = {"prompts": prompts, "completions": completions, **columns}
    given = accepted(function, given)
    try:
        return function(**given)
    except Exception as error:  # a user's code may raise anything
        index = _culprit(function, given)
        received = f"{type(error).__name__}: {error}"
        if index is None:
            received += " (only for the batch as a whole)"
        wanted = f"must not raise; {otherwise}"
        raise _refusal(whose, wanted, received, batch, index or 0) from error


def _culprit(function: Callable[..., object], given: Columns) -> int | None:
    """Returns the first row that a function raises on when it is alone."""
    for index in range(min(map(len, given.values()), default=0)):
        try:
            function(**{key: [column[index]] for key, column in given.items()})
        except Exception:  # the same code, for one row
            return index
    return None


def _parameters(reward: Callable[..., object]) -> list[inspect.Parameter]:
    return list(inspect.signature(reward).parameters.values())


def _problem(row: object, count: int | None) -> tuple[str, str] | None:
    """Returns what is wanted of a score and what it is instead, or None."""
    if row is None or _is_number(row):
        return None
    wanted = "must give a finite number, an array with one for each token, or None"
    if not _is_list(row):
        return wanted, f"{row!r}"
    if count is None:
        return "needs `completion_ids` for rewards of tokens", f"{np.shape(row)}"
    try:
        numbers = np.asarray(row, np.float64)
    except (TypeError, ValueError):
        return wanted, f"{row!r}"
    if numbers.shape != (count,):
        return f"must give the {count} tokens a number each", f"shape {numbers.shape}"
    if not (np.abs(numbers) <= _LARGEST).all():
        place = int(np.argmin(np.abs(numbers) <= _LARGEST))
        return wanted, f"{numbers[place]} at token {place}"
    return None


def _plain(value: object) -> Any:
    """Returns a NumPy array in place of a tensor of any library."""
    if isinstance(value, np.ndarray | np.generic) or not hasattr(value, "__array__"):
        return value
    array = np.asarray(value)
    # NumPy itself has no bfloat16.
    return array.astype(np.float64) if array.dtype.kind == "V" else array


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    array = isinstance(value, np.ndarray) and value.ndim > 0
    return array or isinstance(value, list | tuple)


def _as_score(row: Score | Sequence[float]) -> Score:
    if row is None:
        return None
    array = np.asarray(row, np.float64)
    return array if array.ndim else float(array)


def _is_number(value: object) -> bool:
    """Whether something is a finite number that float32 can hold."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if not isinstance(value, int | float | np.integer | np.floating | np.bool_):
        return False
    return not math.isnan(value) and abs(float(value)) <= _LARGEST


def _refusal(
    whose: str, wanted: str, received: str, batch: Completed, index: int
) -> ValueError:
    prompt, completion = batch.prompts[index], batch.completions[index]
    return ValueError(
        f"The {whose} {wanted}, for the prompt {_shown(prompt)} and the "
        f"completion {_shown(completion)}. Received: {received}"
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else f"{text[:200]}…")
