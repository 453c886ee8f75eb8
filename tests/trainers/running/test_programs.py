"""A program is built once for the environment that it is for."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
import tensorflow as tf

import kpg
from kpg.environments import as_environment
from kpg.trainers.running.programs import Environments, Programs, partner_of
from tests.environments import Walk


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
    made = environments.get(env)
    assert environments.get(env) is made
    assert environments.get(made) is made
    assert environments.get(gym.make("CartPole-v1")) is not made
    # Its episodes are those of all trainers; what a factory makes is one trainer's.
    assert Environments().get(env) is made

    def factory() -> Any:
        return gym.make("CartPole-v1")

    own = environments.get(factory)
    assert environments.get(factory) is own
    assert Environments().get(factory) is not own


def test_what_was_evaluated_on_is_released(make_trainer: Callable[..., Any]) -> None:
    walker = make_trainer("PPO", env=as_environment(Walk(length=2), num_envs=4))
    walks: list[Callable[[], Any]] = [lambda: Walk(length=2)]
    carts: list[Callable[[], Any]] = [
        lambda: kpg.make("CartPole-v1", backend="gymnasium"),
        lambda: gym.make("CartPole-v1"),
    ]
    for trainer, makers in ((walker, walks), (make_trainer("PPO"), carts)):
        for make in makers:
            env = make()
            assert trainer.evaluate(env, 1)["episodes"] == 1
            gone = weakref.ref(env)
            del env
            gc.collect()
            assert gone() is None


def test_few_evaluators_of_one_environment_are_kept(
    make_trainer: Callable[..., Any],
) -> None:
    programs = Programs(tf.distribute.get_strategy(), False, None)
    env, policy = kpg.make("CartPole-v1"), make_trainer("PPO").policy
    made = [
        weakref.ref(programs.evaluator_for(policy, env, episodes, True))
        for episodes in range(1, 30)
    ]
    gc.collect()
    assert sum(evaluator() is not None for evaluator in made) <= 8
    assert made[-1]() is programs.evaluator_for(policy, env, 29, True)


def test_a_trainer_leaves_the_environments_that_it_was_given(
    make_trainer: Callable[..., Any],
) -> None:
    class Closing(gym.Wrapper[Any, Any, Any, Any]):
        closed = False

        def close(self) -> None:
            self.closed = True
            super().close()

    env = Closing(gym.make("CartPole-v1"))
    trainer = make_trainer("PPO")
    trainer.evaluate(env, 1)
    del trainer
    gc.collect()
    assert not env.closed
    env.reset()


def test_an_executor_without_its_environment_is_refused() -> None:
    env = kpg.make("CartPole-v1", num_envs=4)
    assert partner_of(env, None) is None
    policy = kpg.models.Policy(env.observation_space, env.action_space)
    with pytest.raises(ValueError, match="environment in which it writes.*without"):
        partner_of(env, policy)
