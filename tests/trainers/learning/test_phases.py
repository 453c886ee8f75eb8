"""Algorithms written outside of kpg: phases, weights and metrics of their own."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg import losses
from kpg.trainers import PPO, Batch, Iteration, Outputs, Trainer, TrainerSettings

PACKAGE = "tests.phases"


@dataclasses.dataclass(frozen=True)
class PhasicSettings(TrainerSettings):
    num_steps: int = 8
    auxiliary_epochs: int = 2
    every: int = 2


@keras.saving.register_keras_serializable(package=PACKAGE)
class Phasic(Trainer):
    """A policy gradient with a phase that learns values from the policy's features."""

    settings_class = PhasicSettings
    settings: PhasicSettings

    def add_state(self) -> None:
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones")
        self.runs = self.add_weight(
            name="runs", shape=(), initializer="zeros", trainable=False
        )

    def estimate(self, estimates: Any) -> Any:
        return kpg.advantages.GAE(0.9).gains(estimates, self.settings.gamma)

    def policy_loss(self, log_probs: Any, rows: Batch, progress: Any) -> Any:
        return losses.policy_gradient(log_probs, rows.advantages, rows.valid), {}

    def auxiliary(self, outputs: Outputs, rows: Batch, progress: Any) -> Any:
        error = losses.value(outputs.values * self.scale, rows.targets)
        kl = losses.approximate_kl(outputs.log_probs, rows.log_probs)
        return error + kl, {"auxiliary": error}

    def after(self, iteration: Iteration) -> dict[str, Any]:
        def phase() -> Any:
            self.runs.assign_add(1.0)
            metrics = iteration.minimize(
                self.auxiliary, self.settings.auxiliary_epochs, minibatch_size=16
            )
            return metrics["auxiliary"]

        due = tf.equal(self.iteration % self.settings.every, 0)
        return {"auxiliary": tf.cond(due, phase, lambda: tf.zeros([]))}


def models(seed: int = 0) -> tuple[kpg.models.Policy, kpg.models.Critic]:
    env = kpg.make("CartPole-v1")
    return (
        kpg.models.Policy(
            env.observation_space, env.action_space, hidden_units=(8,), seed=seed
        ),
        kpg.models.Critic(env.observation_space, hidden_units=(8,), seed=seed + 1),
    )


def number(variable: Any) -> Any:
    """Returns the value of a variable, mirrored or not."""
    return np.array(tf.convert_to_tensor(variable))


@pytest.fixture(scope="module")
def env() -> Any:
    return kpg.make("CartPole-v1", num_envs=4, seed=0)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_second_phase_runs_when_it_is_due(env: Any, jit_compile: bool) -> None:
    trainer = Phasic(*models(), seed=0)
    trainer.compile(keras.optimizers.Adam(0.01), jit_compile=jit_compile)
    history = trainer.fit(env, steps_per_epoch=4, verbose=0).history
    assert number(trainer.runs) == 2.0
    assert history["auxiliary"][0] > 0.0
    # Only the second phase knows this weight.
    assert number(trainer.scale) != 1.0


def test_steps_of_the_critic_alone_leave_the_policy_as_it_is(env: Any) -> None:
    """Also where an optimizer has momentum, which moves what gets a gradient of 0."""

    class More(PPO):
        def after(self, iteration: Iteration) -> dict[str, Any]:
            def critic(outputs: Outputs, rows: Batch, progress: Any) -> Any:
                return losses.value(outputs.values, rows.targets), {}

            return iteration.minimize(critic, num_epochs=3)

    after = []
    for algorithm in (PPO, More):
        trainer: Any = algorithm(*models(), seed=0, num_steps=8, minibatch_size=16)
        trainer.compile(keras.optimizers.Adam(0.01), jit_compile=False)
        start = kpg.make("CartPole-v1", num_envs=4, seed=0)
        trainer.fit(start, steps_per_epoch=1, verbose=0)
        after.append(
            [
                [number(v) for v in model.trainable_variables]
                for model in (trainer.policy, trainer.critic)
            ]
        )
    (policy, critic), (same, moved) = after
    for one, other in zip(policy, same, strict=True):
        np.testing.assert_array_equal(one, other)
    pairs = zip(critic, moved, strict=True)
    assert all(not np.array_equal(one, other) for one, other in pairs)


def test_the_phase_goes_down_the_gradient_of_its_loss(env: Any) -> None:
    """One step of SGD on all rows is the gradient of the mean over all rows."""
    seen: list[Any] = []

    class Once(Phasic):
        def policy_loss(self, log_probs: Any, rows: Batch, progress: Any) -> Any:
            return 0.0 * losses.mean(log_probs, rows.valid), {}

        def value_loss(self, values: Any, rows: Batch) -> Any:
            return 0.0 * losses.mean(values, rows.valid)

        def after(self, iteration: Iteration) -> dict[str, Any]:
            def loss(outputs: Outputs, rows: Batch, progress: Any) -> Any:
                seen.append(rows.targets.shape)
                return self.scale * losses.mean(rows.targets, None), {
                    "target": losses.mean(rows.targets, None)
                }

            return iteration.minimize(loss)

    trainer = Once(*models(), seed=0, max_grad_norm=None)
    trainer.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    history = trainer.fit(env, steps_per_epoch=1, verbose=0).history
    assert seen[0] == (32,)
    moved = 1.0 - number(trainer.scale)
    assert moved == pytest.approx(0.1 * history["target"][0], rel=1e-5)


def test_kl_and_mean_advantage_after_an_iteration(env: Any) -> None:
    class Measured(PPO):
        def after(self, iteration: Iteration) -> dict[str, Any]:
            return {"kl": iteration.kl(), "gain": iteration.mean_advantage()}

    trainer = Measured(*models(), seed=0, num_steps=8, minibatch_size=16)
    trainer.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    history = trainer.fit(env, steps_per_epoch=1, verbose=0).history
    assert history["kl"][0] > 0.0
    assert np.isfinite(history["gain"][0])


def test_the_phase_is_the_same_under_two_replicas() -> None:
    results = []
    for devices in (["CPU:0"], ["CPU:0", "CPU:1"]):
        env = kpg.make("CartPole-v1", num_envs=4, seed=0)
        with tf.distribute.MirroredStrategy(devices).scope():
            trainer = Phasic(*models(), seed=0, every=1)
            trainer.compile(keras.optimizers.SGD(0.1), jit_compile=False)
        trainer.fit(env, steps_per_epoch=2, verbose=0)
        results.append(number(trainer.runs))
        assert np.isfinite(number(trainer.scale))
    assert results == [2.0, 2.0]


def test_own_weights_are_saved_and_learning_goes_on(env: Any, tmp_path: Any) -> None:
    trainer = Phasic(*models(), seed=0)
    trainer.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    trainer.fit(env, steps_per_epoch=2, verbose=0)
    trainer.save(tmp_path / "phasic.keras")
    again = kpg.load(tmp_path / "phasic.keras")
    assert type(again) is Phasic
    assert number(again.scale) == number(trainer.scale) != 1.0
    again.fit(env, steps_per_epoch=2, verbose=0)
    assert number(again.runs) == 2.0


WRONG: dict[str, tuple[Any, str]] = {
    "no pair": (lambda loss: loss, "must return a pair"),
    "no scalar": (lambda loss: (tf.zeros([3]), {}), "must return scalars"),
    "no dict": (lambda loss: (loss, [loss]), "must return a pair"),
    "no scalar metric": (lambda loss: (loss, {"mine": tf.zeros([2])}), "'mine'"),
    "a taken name": (lambda loss: (loss, {"entropy": loss}), "choose another"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_loss_is_refused_by_name(env: Any, case: str) -> None:
    returned, message = WRONG[case]

    class Wrong(PPO):
        def policy_loss(self, log_probs: Any, rows: Batch, progress: Any) -> Any:
            return returned(losses.mean(log_probs, rows.valid))

    trainer = Wrong(*models(), seed=0, num_steps=8, minibatch_size=16)
    trainer.compile(jit_compile=False)
    before = [number(v) for v in trainer.learned_variables()]
    with pytest.raises(ValueError, match=message):
        trainer.fit(env, steps_per_epoch=1, verbose=0)
    for old, new in zip(before, trainer.learned_variables(), strict=True):
        np.testing.assert_array_equal(old, number(new))
