"""What counts as a word."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from kpg.language.rewards.required_columns import token_ids

# Letters and digits: punctuation, spaces and underscores separate.
_ALPHANUMERIC = re.compile(r"[^\W_]+")


def alphanumeric(text: str) -> list[str]:
    """Splits a text into lower-case runs of letters and digits.

    A text without spaces between its words, as in Chinese, is one run.
    """
    return _ALPHANUMERIC.findall(text.lower())


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuses an option that is not among its choices."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {value!r}")


def split(
    completions: Sequence[str], columns: Mapping[str, Any], unit: str, reward: str
) -> list[Sequence[Any]]:
    """Splits completions into words, characters or tokens.

    Args:
        completions: B strings.
        columns: The columns of the batch, with `completion_ids` for tokens.
        unit: "word" (see `alphanumeric`), "character" (spaces too) or "token" (the end
            token too).
        reward: Who asks.

    Returns:
        B sequences of what is counted.

    Raises:
        ValueError: If the unit is "token" and there are no `completion_ids`.
    """
    if unit == "token":
        return [i.tolist() for i in token_ids(columns, "completion_ids", reward)]
    if unit == "word":
        return [alphanumeric(text) for text in completions]
    return list(completions)
