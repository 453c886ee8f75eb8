"""Many seeds of one training, in the time of one start-up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from kpg import checks, results
from kpg.trainers.running.fitting import Callbacks
from kpg.trainers.running.programs import Left
from kpg.trainers.trainer import Trainer
from kpg.trainers.variables import assign, values_of, variables_of
from kpg.types import Array, Config

_NOT_MEMBERS = "must return a compiled trainer, a new one each time"


class Population:
    """Trainers that differ only in their seeds, and train by one compiled program.

    They may differ in their learning rates, too, which are variables of that program.

    Start-up, tracing and compiling take seconds, and the training of a small policy
    takes hardly more. Here the members take turns in one program: a member's weights,
    optimizers, moments and counters go in, iterations run, and they come out again.
    Each is to the last bit what it would have become alone.

    Args:
        make_trainer: Takes a seed and returns a new, compiled trainer.
        seeds: The seeds, or a number for those from 0 on. Defaults to 10.

    Attributes:
        seeds: The seeds, in order.
        members: The trainers, in the order of the seeds; ordinary ones, to be saved,
            exported and evaluated.

    Raises:
        ValueError: If there is no seed or one twice, `make_trainer` returns something
            else, or the trainers' settings, arguments of `compile` or weights differ.

    Example:
        ```python
        population = kpg.trainers.Population(make_trainer, seeds=10)
        histories = population.fit(kpg.make("CartPole-v1", num_envs=8), epochs=20)
        print(histories.mean("return"), histories.margin("return"))
        ```
    """

    def __init__(
        self, make_trainer: Callable[[int], Trainer], seeds: int | Sequence[int] = 10
    ) -> None:
        if isinstance(seeds, (int, np.integer)):
            seeds = range(checks.whole_number("seeds", seeds))
        self.seeds = [checks.whole_number("seeds", seed, 0) for seed in seeds]
        if not self.seeds or len({*self.seeds}) < len(self.seeds):
            checks.refuse("seeds", "must be different whole numbers", self.seeds)
        # Those whose programs run; no member, or it would be changed by the others.
        self._seat = _checked(make_trainer(self.seeds[0]), [])
        self.members: list[Trainer] = []
        for seed in self.seeds:
            others = [self._seat, *self.members]
            self.members.append(_checked(make_trainer(seed), others))
        # Where the members' episodes are, and what was planned for their programs.
        self._left: list[Left | None] = [None] * len(self.seeds)

    def fit(
        self,
        env: object,
        *,
        callbacks: Callbacks | Callable[[int], Callbacks] = None,
        **options: Any,
    ) -> Histories:
        """Trains one member after the other.

        Args:
            env: As in `Trainer.fit`. If it has no seed, the episodes of each member
                follow the member's. A host environment begins new episodes with each.
            callbacks: As in `Trainer.fit`, for each member anew; or a function of a
                member's seed that returns its own. Their model is a trainer with the
                member's seed and weights.
            **options: The other arguments of `Trainer.fit`.

        Returns:
            The logs of all members.

        Raises:
            ValueError: See `Trainer.fit`; members before the one that failed are
                trained, and that one is as far as it came.
        """
        for index, seed in enumerate(self.seeds):
            own = callbacks(seed) if callable(callbacks) else callbacks
            with self.seated(index) as trainer:
                trainer.fit(env, callbacks=own, **options)
        return Histories([member.history for member in self.members])

    def evaluate(self, env: object, **options: Any) -> list[dict[str, Any]]:
        """Evaluates each member; returns what `Trainer.evaluate` does, in order."""
        found = []
        for index in range(len(self.seeds)):
            with self.seated(index) as trainer:
                found.append(trainer.evaluate(env, **options))
        return found

    @contextlib.contextmanager
    def seated(self, index: int) -> Iterator[Trainer]:
        """Lends the programs to a member: a trainer with its seed and weights.

        What a `with` block does to that trainer, it has done to the member.
        """
        seat, member = self._seat, self.members[index]
        names = ("history", "settings", "compile_seconds", "train_seconds")
        for name in names:
            setattr(seat, name, getattr(member, name, None))
        assign(seat, values_of(member))
        seat.seed, seat.effective_seed = member.seed, member.effective_seed
        seat._programs.lend(member.effective_seed, self._left[index])
        try:
            yield seat
        finally:
            assign(member, values_of(seat))
            self._left[index] = seat._programs.taken_back()
            for name in names:
                setattr(member, name, getattr(seat, name))


class Histories:
    """The logs of several trainings.

    Attributes:
        members: Keras's `History` of each.
        history: By name `[members, epochs]`; NaN where a member stopped earlier.
    """

    def __init__(self, members: Sequence[keras.callbacks.History]) -> None:
        self.members = list(members)
        logs = [member.history for member in self.members]
        names = dict.fromkeys(name for log in logs for name in log)
        self.history = {
            name: _rows([log.get(name, []) for log in logs]) for name in names
        }

    def mean(self, name: str) -> Array:
        """Returns `[epochs]` means over the members."""
        means: Array = self.history[name].mean(axis=0)
        return means

    def margin(self, name: str) -> Array:
        """Returns half the widths `[epochs]` of the 95 % intervals of the means."""
        return np.array([results.margin(row) for row in self.history[name].T.tolist()])

    def best(self, name: str = "val_return", mode: str = "max") -> int:
        """Returns the number of the member whose last epoch is the best."""
        checks.choice("mode", mode, ("max", "min"))
        last = self.history[name][:, -1]
        return int(np.nanargmax(last) if mode == "max" else np.nanargmin(last))


def _rows(logs: Sequence[Sequence[float]]) -> Array:
    rows = np.full([len(logs), max(map(len, logs))], np.nan)
    for row, log in zip(rows, logs, strict=True):
        row[: len(log)] = log
    return rows


def _checked(found: object, others: Sequence[Trainer]) -> Trainer:
    """Returns a trainer that is new, and like the others."""
    if not isinstance(found, Trainer) or not found.compiled or found in others:
        checks.refuse("make_trainer", _NOT_MEMBERS, found)
    first = others[0] if others else found
    for name, own, wanted in (
        ("settings", found.settings, first.settings),
        ("arguments of compile", _compiled(found), _compiled(first)),
        ("weights", _shapes(found), _shapes(first)),
    ):
        if own != wanted:
            checks.refuse(
                name,
                "of the trainers must be equal, apart from learning rates; those of "
                f"the first one are {wanted}",
                own,
            )
    return found


def _compiled(trainer: Trainer) -> Config:
    """Returns the arguments of `compile`, without what is a variable of its own."""
    config = dict(trainer.get_compile_config())
    for name, optimizer in config.items():
        if isinstance(optimizer, dict):
            config[name] = {
                key: value
                for key, value in optimizer["config"].items()
                if key not in ("name", "learning_rate")
            } | {"class_name": optimizer["class_name"]}
    return config


def _shapes(trainer: Trainer) -> list[tuple[Any, ...]]:
    return [(tuple(v.shape), v.dtype, v.trainable) for v in variables_of(trainer)]
