"""What each kind of environment brings: an engine, an evaluator, XLA or not."""

from __future__ import annotations

from typing import NamedTuple

from kpg import imports
from kpg.environments.environment import Environment
from kpg.environments.graph.functional import GraphEnvironment
from kpg.environments.host.vector import HostEnvironment
from kpg.trainers.acting.evaluation import Evaluator, GraphEvaluator, HostEvaluator
from kpg.trainers.running.compilation import SAVED_BY_STEP, SAVED_BY_UPDATE
from kpg.trainers.running.engine import Engine, GraphEngine, HostEngine


class Kind(NamedTuple):
    """How trainers run on one kind of environment, and seconds that XLA saves there."""

    engine: type[Engine]
    evaluator: type[Evaluator]
    saved_by_update: float = SAVED_BY_UPDATE
    saved_by_step: float = 0.0

    def saved_by_xla(self, updates: int, num_steps: int) -> float:
        """Returns the seconds that XLA saves in an iteration."""
        return updates * self.saved_by_update + num_steps * self.saved_by_step


_KINDS: dict[str, Kind | str] = {}


def register(environment: type[Environment] | str, kind: Kind | str) -> None:
    """Registers a class of environments; "module:NAME" is imported on first use."""
    named = environment if isinstance(environment, str) else _name(environment)
    _KINDS[named] = kind


def kind_of(env: Environment) -> Kind:
    """Returns the kind of an environment's class, or of its nearest base."""
    for base in type(env).__mro__:
        kind: object = _KINDS.get(_name(base))
        if isinstance(kind, str):
            kind = imports.named(kind)
        if isinstance(kind, Kind):
            return kind
    raise ValueError(
        "A trainer runs on environments made by `kpg.make` or "
        f"`kpg.environments.as_environment`. Received: {type(env).__name__}"
    )


def _name(environment: type) -> str:
    return f"{environment.__module__}:{environment.__qualname__}"


register(
    GraphEnvironment, Kind(GraphEngine, GraphEvaluator, saved_by_step=SAVED_BY_STEP)
)
register(HostEnvironment, Kind(HostEngine, HostEvaluator))
