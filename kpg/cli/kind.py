"""Kinds of tasks: what the commands need to know of each.

An id begins with the prefix of its kind, such as "text:"; without one it is an
environment. The commands call a kind's methods and do not ask which one it is.
"""

from __future__ import annotations

import argparse
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

from typing_extensions import Self

from kpg import imports
from kpg.cli import algorithms, declared, preset
from kpg.cli.command_result import CommandResult, UsageError
from kpg.cli.episode_statistics import summary
from kpg.cli.preset import Preset
from kpg.cli.runs import Run
from kpg.types import Config, Logs

if TYPE_CHECKING:
    import gymnasium
    import keras

    from kpg.environments.environment import Environment
    from kpg.models.policy import Policy
    from kpg.trainers.trainer import Trainer

# Named, not imported: each kind imports only what it needs, when it is needed.
_KINDS = {
    "text:": "kpg.cli.language.texts:Texts",
    "": "kpg.cli.environments:Environments",
}


class Seeds(NamedTuple):
    """Independent seeds, all from the one that the user gave."""

    policy: int
    critic: int
    trainer: int
    environment: int
    validation: int
    final: int
    pretraining: int

    @classmethod
    def derived(cls, seed: int) -> Self:
        """Draws all the seeds."""
        import numpy as np  # which `kpg list` does without

        state = np.random.SeedSequence(seed).generate_state(len(cls._fields))
        return cls(*(int(number) >> 1 for number in state))  # signed 32 bits, ≥ 0


class Kind(ABC):
    """A kind of task; a `deterministic` one is measured by its most likely actions.

    `owners` have the settings of its policies and tasks, see `kpg.cli.declared`;
    `spaces` is the name of the file of what `kpg tune` tries, see `kpg.cli.space`.
    """

    deterministic: ClassVar[bool] = True
    takes_prompts: ClassVar[bool] = False
    owners: ClassVar[tuple[str, ...]]
    spaces: ClassVar[str]

    @abstractmethod
    def ids(self) -> list[str]:
        """Returns the ids of the tasks that have a tuned preset."""

    @abstractmethod
    def entries(self, id: str) -> dict[str, Config]:
        """Returns a task's settings by algorithm, the default first."""

    def further_settings(
        self, chosen: Preset, known: Sequence[str], settings: Config
    ) -> Config:
        """Returns what follows from the task for settings that the user leaves open."""
        return {}

    def load(self, id: str, algorithm: str | None = None) -> Preset:
        """Returns the preset of a task, by default that of its first algorithm."""
        entries = self.entries(id)
        return preset.select(id, entries, algorithm or next(iter(entries)))

    def check(self, id: str, settings: Config) -> None:
        """Raises a `ValueError` for an unknown setting or a value of a wrong type.

        What depends on code that is not kpg's own is checked by `chosen_preset`.
        """
        algorithm = settings.get("algorithm")
        if algorithm is None and id in self.ids():
            algorithm = next(iter(self.entries(id)))
        if algorithm is None:
            declared.check(settings, *algorithms.KNOWN, "Preset", *self.owners)
        elif known := algorithms.declared_by(algorithm):
            declared.check(settings, known, "Preset", *self.owners)

    def chosen_preset(self, id: str, settings: Mapping[str, object]) -> Preset:
        """Puts the user's settings, `algorithm` included, over a task's preset.

        Raises a `ValueError` for an unknown task, algorithm or setting, or a bad value.
        """
        given = dict(settings)
        algorithm = given.pop("algorithm", None)
        chosen = self.load(id, None if algorithm is None else str(algorithm))
        known = algorithms.settings_names(algorithms.find(chosen.algorithm))
        return preset.with_settings(
            chosen,
            self.further_settings(chosen, known, given) | given,
            policy=declared.names(*self.owners[:1]),
            trainer=known,
            task=declared.names(*self.owners[1:]),
        )

    @abstractmethod
    def build(self, chosen: Preset, seeds: Seeds) -> tuple[Trainer, Environment]:
        """Makes the environment, the models and a trainer, or raises a `ValueError`."""

    @abstractmethod
    def evaluation(self, chosen: Config, episodes: int, seed: int) -> Environment:
        """Makes the environment for measuring; the preset's fields must have `env`."""

    def pretrain(
        self,
        policy: Policy,
        chosen: Preset,
        seed: int,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> Logs:
        """Gives a policy its supervised start, if any; returns what to report."""
        return {}

    @abstractmethod
    def callbacks(
        self, run: Run, trainer: Trainer, validation: Environment, total_steps: int
    ) -> list[keras.callbacks.Callback]:
        """Returns what records and shows a training."""

    def measure(
        self,
        trainer: Trainer,
        chosen: Config,
        episodes: int,
        seed: int,
        max_steps: int | None = None,
    ) -> Config:
        """Plays episodes; returns `episode_statistics.summary` and `details`."""
        env = self.evaluation(chosen, episodes, seed)
        try:
            return self.measured(trainer, env, episodes, seed, max_steps)
        finally:
            env.close()

    def measured(
        self,
        trainer: Trainer,
        env: Environment,
        episodes: int,
        seed: int,
        max_steps: int | None = None,
    ) -> Config:
        """Does it in an environment that is there."""
        logs = trainer.evaluate(
            env, episodes, self.deterministic, seed=seed, max_steps=max_steps
        )
        returns = [float(value) for value in logs["returns"]]
        # NaN is a text that was not scored.
        returns = [value for value in returns if not math.isnan(value)] or [math.nan]
        return summary(returns, float(logs["length"])) | self.details(logs)

    def details(self, logs: Config) -> Config:
        """Returns an evaluation's numbers besides returns and lengths."""
        return {}

    @abstractmethod
    def play(self, options: argparse.Namespace) -> CommandResult:
        """Carries out `kpg play`, or raises a `UsageError`."""

    def stage(self, id: str, render_mode: str) -> gymnasium.Env[Any, Any]:
        """Makes an environment to look at; a `UsageError` if there is none."""
        raise UsageError(f"Only environments can be looked at. Received: {id}")

    @abstractmethod
    def to_examine(self, id: str, num_envs: int | None) -> object:
        """Returns what the doctor examines, or raises a `UsageError`."""


def kinds() -> list[Kind]:
    """Returns all kinds."""
    return [_made(path) for path in _KINDS.values()]


def kind_of(id: str) -> Kind:
    """Returns the kind of a task."""
    return next(_made(p) for prefix, p in _KINDS.items() if id.startswith(prefix))


def player_of(options: argparse.Namespace) -> Kind:
    """Returns the kind that plays.

    A server completes prompts for any id: only it knows its model.
    """
    if options.prompts and options.server is not None:
        return next(kind for kind in kinds() if kind.takes_prompts)
    if Path(options.env).is_dir():
        return kind_of(Run(options.env).settings()["env"])
    return kind_of(options.env)


def _made(path: str) -> Kind:
    return cast("type[Kind]", imports.named(path))()
