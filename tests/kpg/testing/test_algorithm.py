"""The check of algorithms accepts kpg's own, and says what is wrong with others."""

from __future__ import annotations

from typing import Any

import keras
import pytest

import kpg
from kpg import losses
from kpg.trainers import PPO, ActorCritic

SMALL: dict[str, Any] = {"num_steps": 16, "seed": 0}


@pytest.fixture(scope="module")
def env() -> Any:
    return kpg.make("CartPole-v1", num_envs=4, seed=0)


def models(env: Any) -> Any:
    policy = kpg.models.Policy(
        env.observation_space, env.action_space, hidden_units=(8,), seed=0
    )
    return policy, kpg.models.Critic(env.observation_space, hidden_units=(8,), seed=1)


@pytest.mark.parametrize(
    "algorithm", [pytest.param(ActorCritic, marks=pytest.mark.slow), PPO]
)
def test_the_shipped_algorithms_pass(env: Any, algorithm: Any) -> None:
    extra = {"minibatch_size": 32} if algorithm is PPO else {}
    kpg.testing.check_algorithm(algorithm(*models(env), **SMALL, **extra), env)


@keras.saving.register_keras_serializable(package="tests.algorithms")
class Forgetful(ActorCritic):
    """Has a trainable weight that no loss depends on."""

    def add_state(self) -> None:
        self.unused = self.add_weight(name="unused", shape=(), initializer="ones")


@keras.saving.register_keras_serializable(package="tests.algorithms")
class Blind(ActorCritic):
    """Logs a metric that is not finite."""

    def policy_loss(self, log_probs: Any, rows: Any, progress: Any) -> Any:
        loss = losses.policy_gradient(log_probs, rows.advantages, rows.valid)
        return loss, {"mine": losses.mean(log_probs, rows.valid) / 0.0}


class Unregistered(ActorCritic):
    """Cannot be loaded by its registered name."""


@pytest.mark.parametrize(
    ("algorithm", "message"),
    [
        (Forgetful, "must be learned.*unused"),
        (Blind, "Metrics must be finite.*mine"),
    ],
)
def test_wrong_algorithms_are_told_what_is_wrong(
    env: Any, algorithm: Any, message: str, one_by_one: None
) -> None:
    with pytest.raises(AssertionError, match=message):
        kpg.testing.check_algorithm(algorithm(*models(env), **SMALL), env)
