"""Optimizers that would change nothing, or that somebody else changes, are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest

import kpg
from kpg.trainers.running.parts import (
    check_distinct,
    checked_critic_optimizer,
    checked_executor_optimizer,
    checked_optimizer,
    scaling,
    uses_half_precision,
)

DECAY = keras.optimizers.schedules.PolynomialDecay(1e-3, 100)


def test_a_name_and_a_configuration_are_optimizers() -> None:
    made = checked_optimizer("adam", "linear")
    assert isinstance(made, keras.optimizers.Adam)
    config = keras.optimizers.serialize(keras.optimizers.SGD(0.25))
    rate = checked_optimizer(config, "constant").learning_rate
    assert float(rate) == pytest.approx(0.25)


@pytest.mark.parametrize("schedule", ["linear", "adaptive_kl"])
def test_two_schedules_of_one_rate_are_refused(schedule: str) -> None:
    own = keras.optimizers.Adam(DECAY)
    assert checked_optimizer(own, "constant") is own
    with pytest.raises(ValueError, match=f"Schedule of its own.*{schedule}"):
        checked_optimizer(own, schedule)
    with pytest.raises(ValueError, match="LearningRateSchedule of its own"):
        checked_executor_optimizer(own, keras.Sequential(), schedule)


def test_a_critic_of_its_own_may_have_an_optimizer_of_its_own(
    make_trainer: Callable[..., Any],
) -> None:
    trainer = make_trainer("PPO")
    policy, critic = trainer.policy, trainer.critic
    assert checked_critic_optimizer(None, policy, None, "constant") is None
    assert checked_critic_optimizer("sgd", policy, critic, "constant") is not None
    with pytest.raises(ValueError, match="weights of its own.*Received: no critic"):
        checked_critic_optimizer("sgd", policy, None, "constant")
    with pytest.raises(ValueError, match="LearningRateSchedule of its own"):
        own = keras.optimizers.Adam(DECAY)
        checked_critic_optimizer(own, policy, critic, "linear")


def test_an_executor_and_its_optimizer_go_together() -> None:
    executor = keras.Sequential()
    assert checked_executor_optimizer(None, None, "constant") is None
    assert checked_executor_optimizer("sgd", executor, "constant") is not None
    for optimizer, model in (("sgd", None), (None, executor)):
        with pytest.raises(ValueError, match="an optimizer of its own.*Received"):
            checked_executor_optimizer(optimizer, model, "constant")


def test_each_set_of_weights_has_an_optimizer_of_its_own() -> None:
    one = keras.optimizers.SGD()
    check_distinct((one, None, keras.optimizers.SGD()))
    with pytest.raises(ValueError, match="objects of their own.*the same object"):
        check_distinct((one, None, one))
    several = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(one))
    for given in (several, keras.optimizers.LossScaleOptimizer(several)):
        with pytest.raises(ValueError, match="without `MultiOptimizer`.*Received"):
            checked_optimizer(given, "constant")


def test_half_precision_anywhere_scales_the_loss() -> None:
    half = keras.layers.Dense(2, dtype="mixed_float16")
    inner = keras.Sequential([keras.layers.Dense(2), keras.Sequential([half])])
    assert uses_half_precision(inner)
    for policy in ("float32", "mixed_bfloat16"):  # whose exponents are the same
        assert not uses_half_precision(keras.layers.Dense(2, dtype=policy))
    plain = keras.optimizers.SGD()
    scaled: Any = scaling(plain)
    assert isinstance(scaled, keras.optimizers.LossScaleOptimizer)
    assert scaled.inner_optimizer is plain
    assert scaling(scaled) is scaled and scaling(None) is None


@pytest.mark.parametrize(
    "wrong", [("MlpPolicy", None), ("CnnPolicy", "env"), (kpg.models.Policy, None)]
)
def test_what_is_no_model_is_told_how_to_make_one(wrong: Any) -> None:
    """`PPO("MlpPolicy", env, verbose=1)` is how other libraries are called."""
    env = kpg.make("CartPole-v1")
    policy, critic = wrong
    with pytest.raises(ValueError, match=r"Type policy = kpg\.models\.Policy\(") as e:
        made: Any = kpg.trainers.PPO
        made(policy, critic and env, verbose=1)
    assert "PPO(policy, critic)" in str(e.value)
