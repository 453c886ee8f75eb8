"""Checks of what a user gave; each returns the value."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import NoReturn, TypeVar

_T = TypeVar("_T")


def refuse(name: str, wanted: str, value: object) -> NoReturn:
    """Raises a `ValueError` that says what is wanted and what was received."""
    raise ValueError(f"`{name}` {wanted}. Received: {name}={value!r}")


def whole_number(name: str, value: object, low: int = 1) -> int:
    """Returns an integer of at least `low`; `True` and `2.0` are none."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        refuse(name, f"must be a whole number of at least {low}", value)
    return value


def number(
    name: str, value: object, low: float = -math.inf, high: float = math.inf
) -> float:
    """Returns a finite number in [low, high]."""
    if (
        not isinstance(value, (int, float))
        or isinstance(value, bool)
        or not low <= value <= high
        or math.isinf(value)
    ):
        if high < math.inf:
            limit = f" in [{low:g}, {high:g}]"
        else:
            limit = "" if math.isinf(low) else f" ≥ {low:g}"
        refuse(name, f"must be a finite number{limit}", value)
    return value


def fraction(name: str, value: object) -> float:
    """Returns a number in [0, 1]."""
    return number(name, value, 0.0, 1.0)


def positive(name: str, value: object) -> float:
    """Returns a finite number greater than 0."""
    if number(name, value, 0.0) == 0:
        refuse(name, "must be greater than 0", value)
    return number(name, value)


def choice(name: str, value: _T, choices: Iterable[_T]) -> _T:
    """Returns one of `choices`."""
    known = tuple(choices)
    if value not in known:
        refuse(name, f"must be one of {', '.join(map(str, known))}", value)
    return value


def flag(name: str, value: object) -> bool:
    """Returns `True` or `False`."""
    if not isinstance(value, bool):
        refuse(name, "must be True or False", value)
    return value


def hint(name: str, known: Iterable[str]) -> str:
    """Returns "Did you mean …?" with the names closest to one, or all known names."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"Known: {', '.join(known)}."
