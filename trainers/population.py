"""Many seeds and settings of one training, in the time of one start-up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from kpg import checks, results
from kpg.trainers.running.fitting import Callbacks
from kpg.trainers.seat import Seat
from kpg.trainers.trainer import Trainer
from kpg.types import Array, Config

Settings: TypeAlias = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]


class Population:
    """Trainers that differ in seeds and numbers, and train by one compiled program.

    Start-up, tracing and compiling take seconds, and the training of a small policy
    takes hardly more. Here the members take turns in one program: a member's weights,
    optimizers, moments and counters go in, iterations run, and they come out again.

    Members may differ in their learning rates, which are variables anyway, and in all
    settings that are numbers but not whole ones, such as `gamma`, `gae_lambda` or
    `clip_range`: those that differ become inputs of the program. What decides how it is
    built must be equal: whole numbers such as `num_steps` or `minibatch_size`, sizes of
    networks, `None` in place of a number.

    Each member is to the last bit what it would have become alone, with one exception:
    where settings differ and XLA compiles, a program with inputs is not rounded exactly
    as one with constants. There a member differs from a single run by float32's
    rounding, and is to the last bit what it is in any population whose settings of the
    same names differ.

    Args:
        make_trainer: Takes a seed, and the settings of a member by name, and returns a
            new, compiled trainer.
        seeds: The seeds, or a number for those from 0 on. Defaults to 10 of them, or to
            0 alone if there are settings.
        settings: Lists of equal length by name, `{"gamma": [0.9, 0.99], "ent_coef": [0,
            0.01]}` for two members: the first of each list, then the second. Or a list
            with a dictionary for each member. `kpg.trainers.grid` makes one of all
            combinations. Each is trained with each seed.

    Attributes:
        seeds: The seed of each member.
        settings: What `make_trainer` received for each member besides.
        members: The trainers, one setting with all seeds after the other; ordinary
            ones, to be saved, exported and evaluated.

    Raises:
        ValueError: If there is no member or one twice, `make_trainer` returns something
            else, or the trainers differ in what must be equal.

    Example:
        ```python
        def make_trainer(seed, learning_rate=1e-3, **settings):
            ...
            trainer = kpg.trainers.PPO(policy, critic, seed=seed, **settings)
            trainer.compile(keras.optimizers.Adam(learning_rate))
            return trainer

        population = kpg.trainers.Population(make_trainer, seeds=10)
        histories = population.fit(kpg.make("CartPole-v1", num_envs=8), epochs=20)
        print(histories.mean("return"), histories.margin("return"))

        settings = {"gamma": [0.95, 0.99], "learning_rate": [1e-3, 3e-4]}
        population = kpg.trainers.Population(make_trainer, settings=settings)
        ```
    """

    def __init__(
        self,
        make_trainer: Callable[..., Trainer],
        seeds: int | Sequence[int] | None = None,
        settings: Settings | None = None,
    ) -> None:
        rows = [{}] if settings is None else _rows_of(settings)
        if seeds is None:
            seeds = 10 if settings is None else 1
        if isinstance(seeds, (int, np.integer)):
            seeds = range(checks.whole_number("seeds", seeds))
        each = [checks.whole_number("seeds", seed, 0) for seed in seeds]
        if not each or len({*each}) < len(each):
            checks.refuse("seeds", "must be different whole numbers", each)
        self.settings = [dict(row) for row in rows for _ in each]
        self.seeds = each * len(rows)
        # Whose programs run; no member, or it would be changed by the others.
        made: list[Trainer] = []
        for seed, row in self._arguments([0, *range(len(self.seeds))]):
            made.append(_new(make_trainer(seed, **row), made))
        self._seat = Seat(made[0], made[1:])
        self.members = self._seat.members

    def _arguments(self, indices: Sequence[int]) -> list[tuple[int, Config]]:
        return [(self.seeds[index], self.settings[index]) for index in indices]

    def fit(
        self,
        env: object,
        *,
        callbacks: Callbacks | Callable[..., Callbacks] = None,
        **options: Any,
    ) -> Histories:
        """Trains one member after the other.

        Args:
            env: As in `Trainer.fit`. If it has no seed, the episodes of each member
                follow the member's. A host environment begins new episodes with each.
            callbacks: As in `Trainer.fit`, for each member anew; or a function of what
                `make_trainer` takes that returns a member's own. Their model is a
                trainer with the member's seed, settings and weights.
            **options: The other arguments of `Trainer.fit`.

        Returns:
            The logs of all members.

        Raises:
            ValueError: See `Trainer.fit`; members before the one that failed are
                trained, and that one is as far as it came.
        """
        for index, (seed, row) in enumerate(self._arguments(range(len(self.seeds)))):
            own = callbacks(seed, **row) if callable(callbacks) else callbacks
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
        with self._seat.lent(self.members[index]) as trainer:
            yield trainer


def grid(**settings: Sequence[Any]) -> list[Config]:
    """Returns all combinations of settings, for `Population`.

    The last name varies fastest: `grid(gamma=[0.9, 0.99], ent_coef=[0.0, 0.01])` is a
    list of four dictionaries.
    """
    rows: list[Config] = [{}]
    for name, values in settings.items():
        rows = [{**row, name: value} for row in rows for value in values]
    return rows


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


def _rows_of(settings: Settings) -> list[Config]:
    """Returns the settings of each member by name."""
    if isinstance(settings, Mapping):
        lengths = {name: len(values) for name, values in settings.items()}
        if len({*lengths.values()}) > 1:
            checks.refuse(
                "settings",
                "must be lists of one length, the first of each for the first member; "
                "`kpg.trainers.grid` makes all combinations",
                {name: list(values) for name, values in settings.items()},
            )
        rows = [
            dict(zip(settings, row, strict=True))
            for row in zip(*settings.values(), strict=True)
        ]
    else:
        rows = [dict(row) for row in settings]
    if not rows or any(row in rows[:index] for index, row in enumerate(rows)):
        checks.refuse("settings", "must be different ones, at least one", settings)
    return rows


def _new(found: object, others: Sequence[Trainer]) -> Trainer:
    """Returns a trainer if it is compiled, and none of the others."""
    if not isinstance(found, Trainer) or not found.compiled or found in others:
        wanted = "must return a compiled trainer, a new one each time"
        checks.refuse("make_trainer", wanted, found)
    return found
