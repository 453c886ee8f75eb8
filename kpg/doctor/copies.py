"""What several copies show, stepped as a trainer steps them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from gymnasium.vector import SyncVectorEnv

from kpg.environments.host.vector import HostEnvironment
from kpg.testing.finding import Finding
from kpg.testing.membership import same
from kpg.testing.random_actions import Actor, find_mask
from kpg.testing.subject import Subject
from kpg.types import Array, Nest

_STEPS = 100
NAMES = ("copies_fail", "rows_mixed")


def findings(subject: Subject, num_envs: int) -> list[Finding]:
    """Steps copies of a host environment at random, and looks whether they mix."""
    try:
        env = subject.environment(num_envs)
    except Exception as error:  # any code of a user may run here
        return [_fails(error)]
    if not isinstance(env, HostEnvironment):
        return []
    try:
        first = _play(env, 0)
        separate = isinstance(env.vector_env.unwrapped, SyncVectorEnv)
        if separate and env.num_envs > 1 and subject.factory is not None:
            if not all(map(same, first, _play(env, 1))):
                return [_MIXED]
    except Exception as error:  # any code of a user may run here
        return [_fails(error)]
    finally:
        if subject.factory is not None:
            env.close()
    return []


_MIXED = Finding(
    "rows_mixed",
    "Other actions of the other copies changed what happened in the first. Keep the "
    "state of a copy in `self`, not in its class or module, and let a factory make a "
    "new environment each time.",
)


def _fails(error: Exception) -> Finding:
    text = " ".join(str(error).split())[:1000]
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    return Finding("copies_fail", f"Several copies cannot be stepped: {kind}{text}")


def _play(env: HostEnvironment, variant: int) -> list[Nest]:
    """Returns what the first copy shows until its episode ends.

    All copies go on to `_STEPS`. `variant` changes the actions of the others.
    """
    actors = [
        Actor(env.action_space, row + (row > 0) * variant * env.num_envs)
        for row in range(env.num_envs)
    ]
    observations, seen, over = env.reset(seed=7), [], False
    for _ in range(_STEPS):
        row = _row(observations, 0)
        step = env.step(_choose(actors, observations))
        if not over:
            seen.append((row, step.rewards[0], step.terminated[0]))
            over = bool(step.terminated[0] | step.truncated[0])
        observations = step.observations
    return seen


def _choose(actors: list[Actor], observations: Nest) -> Nest:
    rows = [_row(observations, index) for index in range(len(actors))]
    pairs = zip(actors, rows, strict=True)
    chosen = [actor.choose(find_mask(row, {})) for actor, row in pairs]
    return tf.nest.map_structure(lambda *parts: np.stack(parts), *chosen)


def _row(nest: Nest, index: int) -> Nest:
    take: Callable[[Array], Array] = functools.partial(np.take, indices=index, axis=0)
    return tf.nest.map_structure(take, nest)
