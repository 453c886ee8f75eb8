"""Settings of which some numbers are inputs of a program."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

import tensorflow as tf

from kpg.graph.inputs import Number
from kpg.values import Value

_S = TypeVar("_S")

Path: TypeAlias = tuple[str, ...]
"""Where a setting is: its name, after those of the options that it belongs to."""


class Inputs:
    """Numbers in settings that a program takes, each by its place.

    Args:
        paths: Where they are.
        values: Returns all the values that the number in a place takes.
    """

    def __init__(self, paths: set[Path], values: Callable[[Path], list[float]]) -> None:
        self._present: dict[Path, tf.Variable] = {}
        self.numbers: dict[Path, Number] = {}
        for path in sorted(paths):
            variable = tf.Variable(values(path)[0], trainable=False, dtype=tf.float64)
            self._present[path] = variable
            self.numbers[path] = Number(
                path[-1], functools.partial(values, path), variable.read_value
            )

    def put(self, settings: object) -> None:
        """Gives the program the numbers of some settings."""
        for path, variable in self._present.items():
            variable.assign(get(settings, path))

    def answered(self) -> bool:
        """Whether what was asked of the numbers so far has the same answers now."""
        return all(number.answered() for number in self.numbers.values())

    def within(self, settings: _S) -> _S:
        """Returns settings with these numbers in place of their own."""
        return _within(settings, self.numbers)


def _within(settings: _S, numbers: Mapping[Path, object]) -> _S:
    result = copy.copy(settings)
    for name in {path[0] for path in numbers}:
        own = {path[1:]: n for path, n in numbers.items() if path[0] == name}
        value = own[()] if () in own else _within(getattr(settings, name), own)
        object.__setattr__(result, name, value)  # they are frozen
    return result


def get(settings: object, path: Path) -> Any:
    """Returns the value in a place."""
    for name in path:
        settings = getattr(settings, name)
    return settings


def differences(first: Any, other: Any) -> Iterator[tuple[Path, bool]]:
    """Yields where settings of one class differ, and if a program can take these.

    Numbers it can, unless they are whole ones by their type: those are sizes.
    """
    for field in dataclasses.fields(first):
        one, two = getattr(first, field.name), getattr(other, field.name)
        if one == two:
            continue
        if isinstance(one, Value) and type(one) is type(two):
            for path, taken in differences(one, two):
                yield (field.name, *path), taken
        else:
            taken = "float" in str(field.type)
            yield (field.name,), taken and _is_number(one) and _is_number(two)


def places(settings: Any) -> Iterator[Path]:
    """Yields where settings have numbers that a program can take."""
    for field in dataclasses.fields(settings):
        own = getattr(settings, field.name)
        if isinstance(own, Value):
            for path in places(own):
                yield (field.name, *path)
        elif "float" in str(field.type) and _is_number(own):
            yield (field.name,)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
