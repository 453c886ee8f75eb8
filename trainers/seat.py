"""The programs that members of a population take turns in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from kpg import checks
from kpg.trainers.running.inputs import Inputs, Path, differences, get, places
from kpg.trainers.running.programs import Left
from kpg.trainers.trainer import Trainer
from kpg.trainers.variables import assign, values_of, variables_of
from kpg.types import Config

# What is a member's own, besides its variables and its seed.
_NAMES = ("history", "settings", "compile_seconds", "train_seconds")


class Seat:
    """A trainer whose programs others borrow, one after the other.

    Settings that are numbers, and that differ among the members, are inputs of the
    programs; all others must be equal.

    Args:
        trainer: No member, or the others would change it.
        members: The trainers that take turns.
        inputs: Names of numbers that are inputs even if they do not differ.

    Raises:
        ValueError: If they differ in what a program cannot take.
    """

    def __init__(
        self, trainer: Trainer, members: Sequence[Trainer], inputs: Sequence[str] = ()
    ) -> None:
        self.trainer = trainer
        self.members = list(members)
        paths = {path for path in places(trainer.settings) if path[-1] in inputs}
        for member in self.members:
            paths |= _differing(trainer, member)
        with trainer.distribute_strategy.scope():
            self.inputs = Inputs(paths, self._all)
        if paths:
            trainer.take_numbers(self.inputs)
        # Where the members' episodes are, and what was planned for their programs.
        self._left: dict[int, Left] = {}

    def _all(self, path: Path) -> list[float]:
        return [float(get(own.settings, path)) for own in self.members]

    def take(self, members: Sequence[Trainer]) -> bool:
        """Takes other members in place of all, if the programs fit them."""
        known = self.inputs.numbers.keys()
        if any(_differing(self.trainer, member) - known for member in members):
            return False
        before, self.members, self._left = self.members, list(members), {}
        if not self.inputs.answered():
            self.members = before
            return False
        return True

    @contextlib.contextmanager
    def lent(self, member: Trainer) -> Iterator[Trainer]:
        """Lends the programs to a member: a trainer with all that is the member's."""
        seat = self.trainer
        for name in _NAMES:
            setattr(seat, name, getattr(member, name, None))
        assign(seat, values_of(member))
        self.inputs.put(member.settings)
        seat.seed, seat.effective_seed = member.seed, member.effective_seed
        seat._programs.lend(member.effective_seed, self._left.get(id(member)))
        try:
            yield seat
        finally:
            assign(member, values_of(seat))
            self._left[id(member)] = seat._programs.taken_back()
            for name in _NAMES:
                setattr(member, name, getattr(seat, name))


def _differing(first: Trainer, other: Trainer) -> set[Path]:
    """Returns where two trainers' settings have different numbers.

    Raises a `ValueError` for any other difference of what their programs are made of.
    """
    if type(first) is not type(other):
        checks.refuse("make_trainer", "must return one kind of trainer", type(other))
    paths = set()
    for path, taken in differences(first.settings, other.settings):
        if not taken:
            _refuse(path[-1], get(other.settings, path), get(first.settings, path))
        paths.add(path)
    ours, theirs = _compiled(first), _compiled(other)
    for name in sorted({*ours, *theirs}):
        if ours.get(name) != theirs.get(name):
            _refuse(name, theirs.get(name), ours.get(name))
    if _shapes(first) != _shapes(other):
        _refuse("weights", _shapes(other), _shapes(first))
    return paths


def _refuse(name: str, received: object, first: object) -> None:
    checks.refuse(
        name,
        "must be equal in all members, as a part of their one compiled program. Only "
        "learning rates, and settings that are numbers but not whole ones, may differ; "
        "train the others in a population of their own. The first one has "
        f"{name}={first!r}",
        received,
    )


def _compiled(trainer: Trainer) -> Config:
    """Returns the arguments of `compile`, without what is a variable of its own."""
    found: Config = {}
    for name, value in trainer.get_compile_config().items():
        if isinstance(value, dict):
            own = {**value["config"], "class_name": value["class_name"]}
            left = {k: v for k, v in own.items() if k not in ("name", "learning_rate")}
            found |= {f"{name}.{key}": argument for key, argument in left.items()}
        else:
            found[name] = value
    return found


def _shapes(trainer: Trainer) -> list[tuple[Any, ...]]:
    return [(tuple(v.shape), v.dtype, v.trainable) for v in variables_of(trainer)]
