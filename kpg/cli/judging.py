"""What a finished training is worth: its best model on new episodes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from kpg.cli import algorithms
from kpg.cli.kind import kind_of
from kpg.cli.preset import Preset
from kpg.cli.runs import Run
from kpg.types import Config

if TYPE_CHECKING:
    from kpg.environments.environment import Environment
    from kpg.trainers.trainer import Trainer

_EPISODES = 100


class Judge:
    """Measures the best models of runs that differ in nothing but their seed.

    In the graph the programs that measured the first model measure the others, too.
    """

    def __init__(self) -> None:
        self._kept: tuple[Trainer, Environment] | None = None

    def verdict(
        self, run: Run, chosen: Preset, seed: int, threshold: float | None
    ) -> Config:
        """Measures the best model on episodes that had no part in choosing it."""
        from kpg.environments.graph.functional import GraphEnvironment

        kind = kind_of(chosen.env)
        if self._kept is None:
            best, fields = algorithms.load(run), dataclasses.asdict(chosen)
            env = kind.evaluation(fields, _EPISODES, seed)
        else:
            best, env = self._kept
            best.load_weights(str(run.best_file))
        try:
            measured = kind.measured(best, env, _EPISODES, seed)
        finally:
            env.close()
        if isinstance(env, GraphEnvironment):
            self._kept = best, env
        solved = None if threshold is None else measured["return_mean"] >= threshold
        return measured | {
            "interrupted": False,
            "solved": solved,
            "threshold": threshold,
        }
