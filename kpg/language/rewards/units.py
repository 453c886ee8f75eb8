"""What is counted in a text: words, characters or tokens."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence

from kpg import checks
from kpg.language.rewards.required_columns import token_ids
from kpg.language.rewards.reward import Columns

UNITS = ("token", "word", "character")

# Letters and digits: punctuation, spaces and underscores separate.
_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """Splits a text into lower-case runs of letters and digits.

    A text without spaces between its words, as in Chinese, is one run.
    """
    return _WORD.findall(text.lower())


def required_by(unit: str) -> tuple[str, ...]:
    """Returns the columns that counting a unit needs.

    Raises:
        ValueError: If the unit is not one of `UNITS`.
    """
    checks.choice("unit", unit, UNITS)
    return ("completion_ids",) if unit == "token" else ()


def split(
    completions: Sequence[str], columns: Columns, unit: str, reward: str
) -> list[Sequence[Hashable]]:
    """Splits completions into words, characters or tokens.

    Args:
        completions: B strings.
        columns: The columns of the batch, with `completion_ids` for tokens.
        unit: "token" (the end token too), "word" (see `words`) or "character" (spaces
            too).
        reward: The class that counts, for messages.

    Returns:
        B sequences of what is counted.

    Raises:
        ValueError: If the unit is "token" and there are no `completion_ids`.
    """
    if unit == "token":
        return [ids.tolist() for ids in token_ids(columns, "completion_ids", reward)]
    return [words(text) if unit == "word" else text for text in completions]
