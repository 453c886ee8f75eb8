"""`fit` keeps the promises of Keras: history, callbacks, one trace."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.environments.graph.functional import FunctionalEnv

Make = Callable[..., Any]
LOGS = {
    "return",
    "length",
    "episodes",
    "env_steps",
    "steps_per_second",
    "loss",
    "policy_loss",
    "value_loss",
    "entropy",
    "explained_variance",
    "learning_rate",
}
VALIDATION = {"val_return", "val_return_std", "val_length"}


def cartpole(num_envs: int = 4, seed: int = 0, **options: Any) -> Any:
    return kpg.make("CartPole-v1", num_envs=num_envs, seed=seed, **options)


def weights(trainer: Any) -> list[np.ndarray]:
    return [tf.identity(weight).numpy() for weight in trainer.weights]


@pytest.mark.parametrize("backend", ["graph", "gymnasium"])
def test_history_and_one_trace(backend: str, make_trainer: Make) -> None:
    trainer = make_trainer("PPO", steps_per_execution=2)
    env = cartpole(backend=backend)
    history = trainer.fit(
        env,
        epochs=3,
        steps_per_epoch=5,  # executions of 2, 2 and 1 iterations
        validation_data=cartpole(seed=1, backend=backend),
        validation_episodes=6,
        verbose=0,
    )
    trainer.fit(env, epochs=1, steps_per_epoch=1, verbose=0)
    assert set(history.history) == LOGS | VALIDATION | {"approx_kl", "clip_fraction"}
    assert all(len(values) == 3 for values in history.history.values())
    assert history.history["env_steps"] == [160, 320, 480]
    assert sum(history.history["episodes"]) > 5
    assert np.isfinite(history.history["val_return"]).all()
    assert trainer._engine.function.experimental_get_tracing_count() == 1
    assert trainer.env_steps == 16 * 32
    assert trainer.train_seconds > 0


@pytest.mark.parametrize("algorithm", ["ActorCritic", "REINFORCE"])
def test_the_other_algorithms_log_what_they_have(
    algorithm: str, make_trainer: Make
) -> None:
    history = make_trainer(algorithm).fit(cartpole(), steps_per_epoch=2, verbose=0)
    assert set(history.history) == LOGS


def test_reinforce_without_a_critic(make_trainer: Make) -> None:
    env = cartpole()
    policy = kpg.models.Policy(env.observation_space, env.action_space, seed=0)
    trainer = kpg.trainers.REINFORCE(policy, num_steps=500, seed=0)
    trainer.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    history = trainer.fit(env, epochs=4, steps_per_epoch=5, verbose=0).history
    assert history["value_loss"] == [0.0] * 4
    assert history["return"][-1] > 1.2 * history["return"][0]


def test_how_iterations_are_run_does_not_change_what_is_learned(
    make_trainer: Make,
) -> None:
    results = []
    for arguments in (
        {},
        {"steps_per_execution": 4},
        {"jit_compile": True, "steps_per_execution": 3},
    ):
        trainer = make_trainer(
            "PPO", learning_rate_schedule="linear", normalize_rewards=True, **arguments
        )
        trainer.fit(cartpole(), epochs=2, steps_per_epoch=4, verbose=0)
        results.append(weights(trainer))
    for other in results[1:]:
        for got, want in zip(other, results[0], strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=2e-5)


def test_two_fits_carry_on_like_one(make_trainer: Make) -> None:
    once, twice = make_trainer("PPO"), make_trainer("PPO")
    once.fit(cartpole(), epochs=2, steps_per_epoch=3, verbose=0)
    env = cartpole()
    for _ in range(2):
        twice.fit(env, epochs=1, steps_per_epoch=3, verbose=0)
    for got, want in zip(weights(twice), weights(once), strict=True):
        np.testing.assert_array_equal(got, want)


def test_linear_schedule_ends_at_zero_and_is_undone(make_trainer: Make) -> None:
    trainer = make_trainer(
        "PPO",
        learning_rate_schedule="linear",
        optimizer=keras.optimizers.Adam(1e-2),
    )
    history = trainer.fit(cartpole(), epochs=4, steps_per_epoch=1, verbose=0)
    expected = [1e-2, 0.75e-2, 0.5e-2, 0.25e-2]
    np.testing.assert_allclose(history.history["learning_rate"], expected, rtol=1e-5)
    assert float(trainer.optimizer.learning_rate) == pytest.approx(1e-2)


def test_keras_callbacks_work_unchanged(make_trainer: Make, tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    trainer = make_trainer(
        "PPO", optimizer=keras.optimizers.Adam(1e-2), steps_per_execution=1
    )
    callbacks = keras.callbacks
    trainer.fit(
        cartpole(),
        epochs=3,
        steps_per_epoch=2,
        validation_data=cartpole(seed=1),
        validation_episodes=4,
        verbose=0,
        callbacks=[
            callbacks.ModelCheckpoint(
                tmp_path / "best.keras", "val_return", mode="max", save_best_only=True
            ),
            callbacks.ModelCheckpoint(
                tmp_path / "{epoch}.weights.h5", save_weights_only=True
            ),
            callbacks.CSVLogger(tmp_path / "log.csv"),
            callbacks.TensorBoard(tmp_path / "board", update_freq="epoch"),
            callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5),
            callbacks.ReduceLROnPlateau("loss", patience=100),
            callbacks.TerminateOnNaN(),
            callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: seen.append(("epoch", epoch)),
                on_train_batch_end=lambda batch, logs: seen.append(("batch", batch)),
            ),
        ],
    )
    batches = [("batch", 0), ("batch", 1)]
    assert seen == [
        *batches,
        ("epoch", 0),
        *batches,
        ("epoch", 1),
        *batches,
        ("epoch", 2),
    ]
    assert float(trainer.optimizer.learning_rate) == pytest.approx(1.25e-3)
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert len(rows) == 3
    assert LOGS <= set(rows[0])
    assert list((tmp_path / "board").rglob("events.*"))
    assert len(list(tmp_path.glob("*.weights.h5"))) == 3
    assert kpg.load(tmp_path / "best.keras").env_steps in (64, 128, 192)


def test_early_stopping_restores_the_best_weights(make_trainer: Make) -> None:
    trainer = make_trainer("PPO", optimizer=keras.optimizers.Adam(1e-2))
    kept: list[list[np.ndarray]] = []

    class Falls(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            kept.append(weights(self.model))
            logs["score"] = -abs(epoch - 1)

    stopping = keras.callbacks.EarlyStopping(
        "score", mode="max", patience=2, restore_best_weights=True
    )
    history = trainer.fit(
        cartpole(),
        epochs=9,
        steps_per_epoch=2,
        verbose=0,
        callbacks=[Falls(), stopping],
    )
    assert len(history.history["loss"]) == 4
    for got, want in zip(weights(trainer), kept[1], strict=True):
        np.testing.assert_array_equal(got, want)


def test_terminate_on_nan_and_stop_training(make_trainer: Make) -> None:
    trainer = make_trainer("PPO", optimizer=keras.optimizers.SGD(1e30))
    trainer.fit(
        cartpole(),
        epochs=5,
        steps_per_epoch=2,
        verbose=0,
        callbacks=[keras.callbacks.TerminateOnNaN()],
    )
    assert trainer.stop_training

    def stop(batch: int, logs: Any) -> None:
        trainer.stop_training = True

    trainer = make_trainer("PPO")
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=stop)
    trainer.fit(
        cartpole(), epochs=5, steps_per_epoch=9, verbose=0, callbacks=[callback]
    )
    assert trainer.env_steps == 32


def test_a_callback_and_a_schedule_both_setting_the_rate(make_trainer: Make) -> None:
    trainer = make_trainer("PPO", learning_rate_schedule="linear")
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 1e-3)
    with pytest.raises(ValueError, match=r"use only one.*learning_rate_schedule"):
        trainer.fit(
            cartpole(), epochs=2, steps_per_epoch=1, verbose=0, callbacks=[scheduler]
        )


class Explodes(FunctionalEnv):
    """A walk whose reward becomes inf at the tenth step."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gym.spaces.Discrete(2)

    def initial(self, rng: Any, params: Any = None) -> tf.Tensor:
        return tf.zeros([rng.batch_size, 1])

    def transition(
        self, state: tf.Tensor, action: tf.Tensor, rng: Any, params: Any = None
    ) -> tf.Tensor:
        return state + 1.0

    def observation(self, state: tf.Tensor, rng: Any, params: Any = None) -> tf.Tensor:
        return state

    def reward(
        self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None
    ) -> tf.Tensor:
        return 1.0 / (10.0 - next_state[:, 0])

    def terminal(self, state: tf.Tensor, rng: Any, params: Any = None) -> tf.Tensor:
        return tf.zeros_like(state[:, 0], tf.bool)


def test_a_broken_environment_leaves_the_weights(make_trainer: Make) -> None:
    env = kpg.environments.as_environment(Explodes(), num_envs=4, seed=0)
    trainer = make_trainer("PPO", env=env)
    trainer.fit(env, steps_per_epoch=1, verbose=0)
    before = [tf.identity(v).numpy() for v in trainer.trainable_variables]
    with pytest.raises(ValueError, match=r"not finite; nothing was learned.*Received"):
        trainer.fit(env, steps_per_epoch=1, verbose=0)
    for weight, value in zip(trainer.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(tf.identity(weight), value)


def test_progress_goes_to_standard_output(
    make_trainer: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    make_trainer("PPO").fit(cartpole(), epochs=2, steps_per_epoch=2, verbose=2)
    output = capsys.readouterr().out
    assert "Epoch 2/2" in output and "entropy" in output
