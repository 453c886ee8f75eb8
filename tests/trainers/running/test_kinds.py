"""Every kind of environment brings what trainers run on it with."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest

import kpg
from kpg.environments import GraphEnvironment
from kpg.trainers.running.engine import GraphEngine, HostEngine
from kpg.trainers.running.kinds import kind_of, register


def test_a_class_of_ones_own_is_of_the_kind_of_its_nearest_base() -> None:
    class Own(GraphEnvironment):
        """An environment in the graph, and more."""

    env = kpg.make("CartPole-v1", num_envs=2)
    assert kind_of(env).engine is GraphEngine
    own: Any = object.__new__(Own)
    assert kind_of(own) is kind_of(env)
    register(Own, kind_of(env)._replace(engine=HostEngine))
    assert kind_of(own).engine is HostEngine
    assert kind_of(env).engine is GraphEngine


def test_a_kind_may_be_named_and_is_then_imported_when_it_is_needed() -> None:
    class Named(GraphEnvironment):
        """An environment whose kind stands elsewhere."""

    named: Any = object.__new__(Named)
    register(Named, "kpg.trainers.no_such_module:KIND")
    with pytest.raises(ValueError, match="no_such_module"):
        kind_of(named)


def test_an_environment_of_no_kind_is_refused() -> None:
    class Odd:
        """Neither in the graph nor on the host."""

    odd: Any = Odd()
    with pytest.raises(ValueError, match="made by `kpg.make`.*Received: Odd"):
        kind_of(odd)


def test_both_kinds_of_gymnasium_are_known() -> None:
    for backend in ("graph", "gymnasium"):
        env = kpg.make("CartPole-v1", num_envs=2, backend=backend)
        kind = kind_of(env)
        assert kind.saved_by_xla(4, 16) > kind.saved_by_xla(2, 16) > 0.0
        env.close()
    assert isinstance(gym.make("CartPole-v1"), gym.Env)  # is made into one by `fit`
