"""A program is built once for the environment that it is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
import tensorflow as tf

import kpg
from kpg.trainers.running.programs import Environments, Programs, partner_of


def test_an_engine_and_evaluators_are_kept_for_their_environment(
    make_trainer: Callable[..., Any],
) -> None:
    trainer = make_trainer("PPO")
    programs = Programs(tf.distribute.get_strategy(), False, None)
    one, other = (kpg.make("CartPole-v1", num_envs=4, seed=0) for _ in range(2))
    training = trainer.training_on(4)
    engine = programs.engine_for(training, one)
    assert programs.engine_for(training, one) is engine
    evaluator = programs.evaluator_for(trainer.policy, one, 4, True)
    assert programs.evaluator_for(trainer.policy, one, 4, True) is evaluator
    assert programs.evaluator_for(trainer.policy, one, 4, False) is not evaluator
    assert programs.evaluator_for(trainer.policy, one, 5, True) is not evaluator
    assert programs.engine_for(training, other) is not engine


@pytest.mark.parametrize("jit_compile", [True, False, "auto"])
def test_xla_is_chosen_when_enough_is_planned(
    jit_compile: bool | str, make_trainer: Callable[..., Any]
) -> None:
    programs = Programs(tf.distribute.get_strategy(), jit_compile, None)
    env = kpg.make("CartPole-v1", num_envs=4)
    training = make_trainer("PPO").training_on(4)
    programs.plan(training, env, 10)
    assert programs.uses_xla is (jit_compile is True)
    programs.plan(training, env, 10_000)
    assert programs.uses_xla is (jit_compile is not False)


def test_one_object_is_one_environment() -> None:
    environments = Environments()
    env = gym.make("CartPole-v1")
    made = environments.get(env, 0)
    assert environments.get(env, 1) is made
    assert environments.get(made, 2) is made
    assert environments.get(gym.make("CartPole-v1"), 0) is not made


def test_an_executor_without_its_environment_is_refused() -> None:
    env = kpg.make("CartPole-v1", num_envs=4)
    assert partner_of(env, None) is None
    policy = kpg.models.Policy(env.observation_space, env.action_space)
    with pytest.raises(ValueError, match="environment in which it writes.*without"):
        partner_of(env, policy)
