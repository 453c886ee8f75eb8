"""Whether XLA's compiling pays off, and how many iterations a compiled call runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kpg.environments.environment import Environment
from kpg.environments.graph.functional import GraphEnvironment
from kpg.language.generation import TextGeneration

if TYPE_CHECKING:
    from kpg.trainers.trainer import Trainer

# Seconds: what XLA takes longer to compile an iteration, and what it saves afterwards
# in each gradient step and in each step of in-graph environments. The numbers fit PPO
# on CartPole-v1 and MountainCar-v0; slower processors change all of them alike.
_COMPILING = 4.0
_SAVED_BY_UPDATE = 0.3e-3
_SAVED_BY_STEP = 0.17e-3

# Seconds of a call: seldom enough to cost nothing, and short for a progress bar.
_CALL = 0.1


def pays_off(trainer: Trainer, env: Environment, iterations: int) -> bool:
    """Whether so many iterations end earlier if XLA compiles them first.

    Texts always do: their iterations are few, but hundreds of passes each.
    """
    if isinstance(env, TextGeneration):
        return True
    num_epochs, size = trainer.update_schedule(env.num_envs)
    num_steps = trainer.settings.num_steps
    updates = num_epochs * (env.num_envs * num_steps // size)
    saved = updates * _SAVED_BY_UPDATE
    if isinstance(env, GraphEnvironment):
        saved += num_steps * _SAVED_BY_STEP
    return iterations * saved > _COMPILING


class Pace:
    """Chooses how many iterations the next call runs.

    Args:
        fixed: As many as the user said, or `None`: as many as a tenth of a second
            holds, by the quickest call so far. The first call compiles and runs one.
    """

    def __init__(self, fixed: int | None) -> None:
        self._fixed = fixed
        self._quickest = float("inf")

    def size(self, left: int) -> int:
        """Returns the iterations of the next call, at most `left`."""
        if self._fixed is not None:
            return min(self._fixed, left)
        return min(max(1, int(_CALL / self._quickest)), left)

    def add(self, seconds: float, iterations: int) -> None:
        """Learns from a call."""
        self._quickest = min(self._quickest, max(seconds, 1e-9) / iterations)
