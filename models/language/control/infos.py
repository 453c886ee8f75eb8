"""What is known of some copies of an environment, as Gymnasium lays it out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def put(
    infos: dict[str, Any], name: str, count: int, rows: Any, values: Sequence[Any]
) -> None:
    """Puts values of some rows into the `infos` of a step.

    Args:
        infos: Gets `name`, `[count]` objects, and `_name`, which of them are known.
        name: What the values are.
        count: Copies in all.
        rows: `[R]`, those with a value.
        values: R of them.
    """
    column = np.full(count, None, object)
    known = np.zeros(count, bool)
    for row, value in zip(rows, values, strict=True):
        column[row], known[row] = value, True
    infos[name], infos[f"_{name}"] = column, known
