"""A search space: which settings `kpg tune` tries, written as a preset is.

In place of a setting's value there is a list of choices, or a range: `{"low": 1e-5,
"high": 1e-2}`, with `"log": true` for one in which 1e-4 is as far from 1e-3 as that is
from 1e-2. `"one_minus": true` says so of the distance to 1: with it a gamma of 0.99 is
as far from 0.9 as from 0.999. A range between whole numbers has whole numbers.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Protocol, TypeAlias

from kpg import checks
from kpg.cli import algorithms
from kpg.types import Config

_PARTS = ("policy", "trainer")


class Suggests(Protocol):
    """What draws values; an `optuna.Trial`."""

    def suggest_categorical(self, name: str, choices: list[object]) -> object:
        """Returns one of the choices."""
        ...

    def suggest_float(
        self, name: str, low: float, high: float, *, log: bool = False
    ) -> float:
        """Returns a number of a range."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Returns a whole number of a range."""
        ...


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`; see the module for the rest."""

    low: float
    high: float
    log: bool = False
    one_minus: bool = False

    def __post_init__(self) -> None:
        checks.number("low", self.low)
        checks.number("high", self.high)
        if self.low >= self.high:
            checks.refuse("high", f"must be above low={self.low}", self.high)
        checks.flag("log", self.log)
        if checks.flag("one_minus", self.one_minus) and self.high >= 1:
            checks.refuse("high", "must be below 1 with one_minus", self.high)
        if self.log and self.low <= 0:
            checks.refuse("low", "must be above 0 with log", self.low)

    def suggested(self, trial: Suggests, name: str) -> float:
        """Draws a value."""
        if self.one_minus:
            ends = (1.0 - self.high, 1.0 - self.low)
            return 1.0 - trial.suggest_float(f"1 - {name}", *ends, log=True)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def told(self, name: str, value: object) -> Config:
        """Returns what an `optuna.Trial` calls a value; `{}` if it is not inside."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return {}
        if not self.low <= value <= self.high:
            return {}
        return {f"1 - {name}": 1.0 - value} if self.one_minus else {name: value}


@dataclasses.dataclass(frozen=True)
class Choices:
    """One of several values."""

    values: tuple[object, ...]

    def __post_init__(self) -> None:
        if not self.values:
            checks.refuse("values", "must be at least one", self.values)

    def suggested(self, trial: Suggests, name: str) -> object:
        """See `Range.suggested`."""
        return trial.suggest_categorical(name, list(self.values))

    def told(self, name: str, value: object) -> Config:
        """See `Range.told`."""
        return {name: value} if value in self.values else {}


Space: TypeAlias = dict[str, Range | Choices]


def read(algorithm: str, of: str, path: str | None = None) -> Space:
    """Reads what to try of an algorithm, by default from kpg's own file.

    `of` is `Kind.spaces`, the name of that file. A class of your own has the space of
    its nearest base class that has one. Raises a `ValueError` if there is none, or the
    file is not as the module says.
    """
    file = resources.files("kpg.cli") / "spaces" / f"{of}.json"
    name = "kpg's own search space" if path is None else path
    try:
        text = (file if path is None else Path(path)).read_text(encoding="utf-8")
        entries = json.loads(text)
        kinds = algorithms.bases(algorithms.find(algorithm))
        found = [entries[key] for key in (algorithm, *kinds) if key in entries]
        without = {*algorithms.OF_CRITIC, *algorithms.recipe(algorithm), "num_steps"}
        if algorithm not in algorithms.RECIPES:
            without = set()
        flat: Config = {}
        for key, value in found[0].items():
            flat |= value if key in _PARTS else {key: value}
        if path is None:
            flat = {k: v for k, v in flat.items() if k not in without}
        return {key: _read(value) for key, value in flat.items()}
    except (OSError, ValueError, AttributeError, TypeError, IndexError) as error:
        raise ValueError(
            'A JSON file is wanted that says what to try, such as {"PPO": {"trainer": '
            '{"gamma": {"low": 0.9, "high": 0.999}, "num_epochs": [4, 10]}}}, of this '
            f"algorithm. Received: {algorithm} in {name} "
            f"({type(error).__name__}: {error})"
        ) from error


def drawn(space: Space, trial: Suggests) -> Config:
    """Draws the settings of a trial."""
    return {name: own.suggested(trial, name) for name, own in space.items()}


def first(space: Space) -> Config:
    """Returns settings that are in the space."""
    return {
        name: own.low if isinstance(own, Range) else own.values[0]
        for name, own in space.items()
    }


def told(space: Space, settings: Mapping[str, object]) -> Config:
    """Returns the settings that are in the space as parameters of a trial."""
    found: Config = {}
    for name, own in space.items():
        if name in settings:
            found |= own.told(name, settings[name])
    return found


def _read(value: object) -> Range | Choices:
    if isinstance(value, Mapping):
        return Range(**value)
    if not isinstance(value, list):
        raise TypeError(f"a list or a range is wanted, not {value!r}")
    return Choices(tuple(value))
