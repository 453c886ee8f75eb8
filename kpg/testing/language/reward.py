"""A check of a reward function of one's own."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence

import numpy as np

from kpg.language.prompts import FROM_POLICY
from kpg.language.rewards import checking
from kpg.language.rewards.checking import Completed, name_of, rows
from kpg.language.rewards.reward import (
    Column,
    Reward,
    RewardFunction,
    Score,
    deserialize,
    serialize,
)
from kpg.language.rewards.weighted import Weighted

PROMPTS = ("Open the door", "Lend me a pen", "Where is it?", "Tell me more")
COMPLETIONS = (", please.", " or else!", "It's here: 3 of them, I think.", "no no no")


def check_reward(
    reward: RewardFunction,
    prompts: Sequence[str] = PROMPTS,
    completions: Sequence[str] = COMPLETIONS,
    *,
    depends_on_batch: bool = False,
    saved: bool = True,
    tolerance: float = 1e-5,
    **columns: Column,
) -> None:
    """Calls a reward as kpg does, and raises if something is wrong with it.

    It must return one score for each completion: a finite number, a finite array with a
    number for each token, or `None`. Scores must be the same in a second call, in
    another order and for each completion alone. The reward must cope with an empty
    prompt and an empty completion, leave its arguments as they are, and read no column
    that it does not require. A `Reward` must be equal after it was saved.

    Args:
        reward: A function, a `kpg.rewards.Reward` or a `kpg.rewards.Weighted`.
        prompts: B strings. Defaults to four requests.
        completions: B strings. Defaults to four replies.
        depends_on_batch: Whether scores may depend on the others in the batch.
        saved: Whether a `Reward`, or each that is part of a sum, must be equal after it
            was saved; `False` suits one that holds a model. Defaults to `True`.
        tolerance: By how much scores may differ, relative to numbers above 1, absolute
            below. Defaults to 1e-5.
        **columns: What else the reward reads, B entries each, besides a policy's
            `prompt_ids`, `completion_ids` (a token a byte, and an end) and `ended`.

    Raises:
        ValueError: If something is wrong; it says what, and for which completion.
    """
    checking.check_weights([reward], None)
    batch = _batch(prompts, completions, columns)
    checking.check_columns([reward], batch.columns)
    _check_repeats(reward, batch, depends_on_batch, tolerance)
    for empty in (_without_completion(batch), _without_prompt(batch)):
        rows(reward, name_of(reward), empty)
    _check_requires(reward, batch)
    if saved:
        _check_saved(reward, batch, tolerance)


def _batch(
    prompts: Sequence[str], completions: Sequence[str], columns: dict[str, Column]
) -> Completed:
    """Returns a batch with the columns that a policy adds."""
    checking.check_batch(Completed(prompts, completions, columns))
    made: dict[str, Column] = {
        "prompt_ids": [_tokens(text) for text in prompts],
        "completion_ids": [[*_tokens(text), 1] for text in completions],
        "ended": [True] * len(completions),
    }
    batch = Completed([*prompts], [*completions], {**made, **columns})
    checking.lengths(batch.columns, len(prompts))
    return batch


def _tokens(text: str) -> list[int]:
    """Returns a token for each byte, as `kpg.text.ByteTokenizer` does."""
    return [2 + byte for byte in text.encode()]


def _without_completion(batch: Completed) -> Completed:
    """Returns the batch with a first completion that ends at once."""
    ids = batch.columns["completion_ids"]
    columns = {**batch.columns, "completion_ids": [ids[0][-1:], *ids[1:]]}
    return batch._replace(completions=["", *batch.completions[1:]], columns=columns)


def _without_prompt(batch: Completed) -> Completed:
    """Returns the batch with a first prompt that has no text but a first token."""
    ids = batch.columns["prompt_ids"]
    columns = {**batch.columns, "prompt_ids": [ids[0][:1], *ids[1:]]}
    return batch._replace(prompts=["", *batch.prompts[1:]], columns=columns)


def _taken(batch: Completed, indices: Sequence[int]) -> Completed:
    prompts, completions, columns = batch
    return Completed(
        [prompts[i] for i in indices],
        [completions[i] for i in indices],
        {name: [column[i] for i in indices] for name, column in columns.items()},
    )


def _check_repeats(
    reward: RewardFunction, batch: Completed, depends_on_batch: bool, tolerance: float
) -> None:
    name, count = name_of(reward), len(batch.prompts)
    given = copy.deepcopy(batch)
    first, second = rows(reward, name, batch), rows(reward, name, batch)
    if not _unchanged(batch, given):
        raise ValueError(
            f"The reward {name!r} must leave the prompts, completions and columns as "
            "they are: other rewards read them too. Received: arguments that it changed"
        )
    _compare(name, batch, first, second, "in a second call", tolerance)
    backwards = rows(reward, name, _taken(batch, range(count)[::-1]))[::-1]
    _compare(name, batch, first, backwards, "in another order", tolerance)
    singles = [rows(reward, name, _taken(batch, [i]))[0] for i in range(count)]
    if not depends_on_batch:
        alone = "alone, or be checked with depends_on_batch=True"
        _compare(name, batch, first, singles, alone, tolerance)


def _unchanged(batch: Completed, given: Completed) -> bool:
    try:
        np.testing.assert_equal(batch, given)
    except AssertionError:
        return False
    return True


def _compare(
    name: str,
    batch: Completed,
    first: Sequence[Score],
    again: Sequence[Score],
    when: str,
    tolerance: float,
) -> None:
    for row, (one, other) in enumerate(zip(first, again, strict=True)):
        if not _equal(one, other, tolerance):
            raise ValueError(
                f"The reward {name!r} must give a completion the same score {when}. "
                f"Received: {one!r}, and then {other!r}, for the prompt "
                f"{batch.prompts[row]!r} and the completion {batch.completions[row]!r}"
            )


def _equal(one: Score, other: Score, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    if np.shape(one) != np.shape(other):
        return False
    scale = np.maximum(1.0, np.abs(one))
    return bool(np.all(np.abs(np.subtract(one, other)) <= tolerance * scale))


def _check_requires(reward: RewardFunction, batch: Completed) -> None:
    needed = {*FROM_POLICY, *checking.required(reward)}
    columns = {k: column for k, column in batch.columns.items() if k in needed}
    try:
        rows(reward, name_of(reward), batch._replace(columns=columns))
    except ValueError as error:
        raise ValueError(
            f"The reward {name_of(reward)!r} must name each column that it needs: a "
            "`Reward` in `requires`, a function among its arguments. Received: "
            f"{sorted(checking.required(reward))}, but with these alone: {error}"
        ) from error


def _check_saved(reward: RewardFunction, batch: Completed, tolerance: float) -> None:
    if not isinstance(reward, Reward):
        return
    if isinstance(reward, Weighted):
        for part in reward.rewards:
            _check_saved(part, batch, tolerance)
        if not all(isinstance(part, Reward) for part in reward.rewards):
            return
    name = name_of(reward)
    try:
        config = serialize(reward)
        again = deserialize(json.loads(json.dumps(config)))
        config_again = serialize(again)
    except Exception as error:  # a user's code may raise anything
        raise ValueError(
            f"The reward {name!r} must be equal after it was saved: keep each argument "
            "of `__init__` in an attribute of its name, write `get_config` and "
            f"`from_config`, or use saved=False. Received: {error!r}"
        ) from error
    if json.dumps(config) != json.dumps(config_again):
        raise ValueError(
            f"The reward {name!r} must have the same configuration after it was saved. "
            f"Received: {config}, and then {config_again}"
        )
    first, second = rows(reward, name, batch), rows(again, name, batch)
    _compare(name, batch, first, second, "after it was saved", tolerance)
