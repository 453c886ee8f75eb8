"""What a reward reads of its columns, and what it says when they are missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kpg.language.rewards.reward import Column, Columns
from kpg.types import Array


def column(columns: Columns, name: str, reward: str, entry: str) -> Column:
    """Returns a column; without it, says what each `entry` of it has to be."""
    found = columns.get(name)
    if found is None:
        raise ValueError(
            f"`{reward}` needs `{name}`: {entry} for each completion. Received: "
            f"columns {sorted(columns)}"
        )
    return found


def references(columns: Columns, reward: str) -> list[list[str]]:
    """Returns B lists of references: what good completions look like; [] for None."""
    entries = column(columns, "references", reward, "a string or a list of strings")
    return [_as_list(entry, reward) for entry in entries]


def _as_list(entry: object, reward: str) -> list[str]:
    if entry is None:
        return []
    texts = [entry] if isinstance(entry, str) else entry
    if (
        not isinstance(texts, Sequence)
        or not texts
        or not all(isinstance(text, str) and text.strip() for text in texts)
    ):
        raise ValueError(
            f"`{reward}` needs references that are not blank: a string, a list of "
            "strings, or None for a completion that cannot be scored. Received: "
            f"{entry!r}"
        )
    return list(texts)


def token_ids(columns: Columns, name: str, reward: str) -> list[Array]:
    """Returns B int64 arrays of "prompt_ids" or "completion_ids", one id a token."""
    rows = column(columns, name, reward, "a list of token ids")
    return [np.asarray(ids, np.int64) for ids in rows]
