"""What each kind of environment brings: an engine, an evaluator, XLA or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from kpg import imports
from kpg.environments.environment import Environment
from kpg.environments.graph.functional import GraphEnvironment
from kpg.environments.host.vector import HostEnvironment
from kpg.models.policy import Policy
from kpg.trainers.acting.evaluation import Evaluator, GraphEvaluator, HostEvaluator
from kpg.trainers.running.compilation import saved_by_steps, saved_by_updates
from kpg.trainers.running.engine import Engine
from kpg.trainers.running.graph_engine import GraphEngine
from kpg.trainers.running.host_engine import HostEngine


class Kind(NamedTuple):
    """How trainers run on one kind of environment.

    `saved_by_xla` returns the seconds that XLA saves in an iteration, given its
    gradient steps and its environment steps.
    """

    engine: Callable[..., Engine]
    evaluator: Callable[..., Evaluator]
    saved_by_xla: Callable[[int, int], float]


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


def _host_evaluator(
    env: HostEnvironment,
    policy: Policy,
    episodes: int,
    deterministic: bool,
    jit_compile: bool,
) -> HostEvaluator:
    # XLA would cost each of its small calls more than it saves; see `Actor`.
    return HostEvaluator(env, policy, episodes, deterministic)


def _saved_in_graph(updates: int, num_steps: int) -> float:
    return saved_by_updates(updates) + saved_by_steps(num_steps)


register(GraphEnvironment, Kind(GraphEngine, GraphEvaluator, _saved_in_graph))
register(
    HostEnvironment,
    Kind(HostEngine, _host_evaluator, lambda updates, _: saved_by_updates(updates)),
)
