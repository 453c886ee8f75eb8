"""What only several copies show, stepped as a trainer steps them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from kpg.doctor import copies, diagnose
from kpg.testing.subject import Registered, subject_of
from tests.faulty_environments import (
    OnlyAlone,
    Shared,
    Walk,
    names,
)


@pytest.fixture
def register() -> Iterator[Callable[[Any], str]]:
    """Returns a function that registers an environment and returns its id."""
    ids: list[str] = []

    def add(entry: Any, **options: Any) -> str:
        id = f"{entry.__name__}ForCopies-v0"
        gym.register(id, entry, **options)
        ids.append(id)
        return id

    yield add
    for id in ids:
        del gym.registry[id]


def found(candidate: Any, num_envs: int = 3) -> list[str]:
    subject = subject_of(candidate)
    return names(copies.findings(subject, num_envs))


def test_copies_that_share_their_state_are_found() -> None:
    assert found(Walk) == []
    assert found(Shared) == ["rows_mixed"]
    one = Walk()
    assert found(lambda: one) == ["copies_fail"]
    assert found(Walk()) == []  # one copy has nobody to share with


def test_copies_that_cannot_be_made_or_stepped_are_found() -> None:
    OnlyAlone.alive = 0
    subject = subject_of(OnlyAlone)
    assert copies.findings(subject, 1) == []
    (finding,) = copies.findings(subject, 2)
    assert finding.name == "copies_fail"
    assert "RuntimeError: the port is in use" in finding.words

    class Scarce(Walk):
        made = 0

        def __init__(self) -> None:
            super().__init__()
            type(self).made += 1
            if self.made > 2:
                raise OSError("no second window")

    assert "no second window" in copies.findings(subject_of(Scarce), 2)[0].words


def test_the_trainers_own_check_is_asked() -> None:
    """An observation of a later copy that is outside of its space."""

    class Odd(Walk):
        made = 0

        def __init__(self) -> None:
            super().__init__()
            type(self).made += 1
            self.number = self.made
            self.observation_space = gym.spaces.Discrete(3)

        def observation(self) -> Any:
            return np.int64(7 if self.number > 3 and self.steps > 4 else 1)

    assert "Received: 7 at index" in copies.findings(subject_of(Odd), 4)[0].words


def test_the_vector_that_training_makes_is_stepped(
    register: Callable[..., str],
) -> None:
    class Vector(gym.vector.SyncVectorEnv):
        def __init__(self, num_envs: int = 1, **_: Any) -> None:
            super().__init__([Walk] * num_envs)

        def step(self, actions: Any) -> Any:
            observations, rewards, *rest = super().step(actions)
            return observations, rewards[:, None], *rest

    id = register(Walk, vector_entry_point=Vector)
    assert names(diagnose(Registered(id))) == ["copies_fail"]
