"""One copy of whatever is examined."""

from __future__ import annotations

from typing import Any

import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from kpg.doctor import diagnose
from kpg.environments.environment import Environment
from kpg.testing.subject import subject_of
from tests.faulty_environments import Deaf, NaNReward, NoEffect, Unknown, Walk, names


def test_vector_environments_are_examined_by_their_first_copy() -> None:
    assert names(diagnose(Unknown([Walk] * 2))) == ["unknown_autoreset"]
    for mode in AutoresetMode:
        vector_env = SyncVectorEnv([NaNReward] * 3, autoreset_mode=mode)
        assert names(diagnose(vector_env)) == ["non_finite_rewards"]
        vector_env = SyncVectorEnv([NoEffect] * 3, autoreset_mode=mode)
        assert names(diagnose(vector_env)) == ["actions_without_effect"]


def test_in_graph_environments_are_examined_too() -> None:
    assert names(diagnose(Deaf())) == ["actions_without_effect"]


def test_only_what_was_made_for_the_examination_is_closed() -> None:
    closed = []

    class Closing(Walk):
        def close(self) -> None:
            closed.append(self)

    env = Closing()
    subject_of(env).close()
    assert closed == []
    subject_of(Closing).close()
    assert len(closed) == 1


def test_an_environment_of_another_kind_is_refused() -> None:
    class Other(Environment):
        @property
        def max_episode_steps(self) -> int | None:
            return None

        def close(self) -> None:
            pass

    with pytest.raises(ValueError, match="played at random. Received"):
        subject_of(Other())


@pytest.mark.parametrize("wrong", [3, "CartPole-v1", lambda: 3])
def test_what_is_no_environment_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="Received"):
        subject_of(wrong)
