"""What a reward reads of its columns, and what it says when they are not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def references(columns: Mapping[str, Any], reward: str) -> list[list[str]]:
    """Reads `references`: what good completions look like.

    Args:
        columns: The columns of a batch.
        reward: Who asks.

    Returns:
        B lists of references; an empty one where the entry is None.

    Raises:
        ValueError: If there is no such column, or if an entry is something else than
            None, a string with a character that is no space, or a list of such.
    """
    if columns.get("references") is None:
        raise ValueError(
            f"`{reward}` compares completions with references: give `references`, for "
            "each prompt a string or a list of strings. Received: columns "
            f"{sorted(columns)}"
        )
    return [_as_list(entry, reward) for entry in columns["references"]]


def _as_list(entry: Any, reward: str) -> list[str]:
    if entry is None:
        return []
    texts = [entry] if isinstance(entry, str) else entry
    listed = isinstance(texts, Sequence) and len(texts) > 0
    if not listed or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(
            f"`{reward}` wants references that are not empty: a string, a list of "
            "strings, or None for a completion that cannot be scored. Received: "
            f"{entry!r}"
        )
    return list(texts)


def token_ids(
    columns: Mapping[str, Any], name: str, reward: str
) -> list[npt.NDArray[np.int64]]:
    """Reads a column of token ids.

    Args:
        columns: The columns of a batch.
        name: "prompt_ids" or "completion_ids".
        reward: Who asks.

    Returns:
        B arrays, each as long as its row has tokens.

    Raises:
        ValueError: If there is no such column.
    """
    if columns.get(name) is None:
        raise ValueError(
            f"`{reward}` works on tokens: give `{name}`, a list of integers for each "
            f"completion. Received: columns {sorted(columns)}"
        )
    return [np.asarray(ids, np.int64) for ids in columns[name]]
