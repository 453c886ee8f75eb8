"""Rows of texts as they are given: lists, arrays, tensors, data sets, generators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def rows_of(name: str, given: object) -> list[Any]:
    """Returns the rows of what is given, at least one, in Python's own types.

    Raises:
        ValueError: If there is none, or it does not consist of rows in an order.
    """
    rows = [plain(row) for row in in_order(name, plain(given))]
    if not rows:
        raise ValueError(f"`{name}` must hold at least one. Received: {name}=[]")
    return rows


def texts_of(name: str, given: object) -> list[str]:
    """Returns rows that are strings.

    Raises:
        ValueError: If there is none, or one is not a string.
    """
    rows = rows_of(name, given)
    for index, row in enumerate(rows):
        if not isinstance(row, str):
            raise ValueError(
                f"`{name}` must be strings. Received: {name}[{index}]={row!r}"
            )
    return rows


def in_order(name: str, given: object) -> Iterable[Any]:
    """Returns what is given, if it consists of rows in an order.

    Raises:
        ValueError: If it does not. A string has letters, a table of columns their
            names, and a set another order in each process.
    """
    one = isinstance(given, (str, bytes, Mapping, set, frozenset))
    # Data frames have rows, but going through one gives the names of its columns.
    if one or not isinstance(given, Iterable) or hasattr(given, "itertuples"):
        short = isinstance(given, (str, bytes, int))
        shown = repr(given) if short else type(given).__name__
        raise ValueError(
            f"`{name}` must be rows in an order: a list, a data set or a generator. "
            "Give one text as a list of one, and a table of columns by its rows, such "
            f'as `frame.to_dict("records")`. Received: {name}={shown}'
        )
    return given


def plain(value: Any) -> Any:
    """Returns what a `tf.data.Dataset` or NumPy holds as Python's own."""
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(plain(part) for part in value)
    if hasattr(value, "numpy"):
        value = value.numpy()
    if isinstance(value, np.generic) or (
        isinstance(value, np.ndarray) and not value.ndim
    ):
        value = value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "OSU":
        return [plain(part) for part in value]
    return value.decode() if isinstance(value, bytes) else value
