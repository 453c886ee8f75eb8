"""`fit` keeps the promises of Keras: history, callbacks, one trace."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.vector import SyncVectorEnv

import kpg
from kpg.trainers.acting.graph import Episodes
from kpg.trainers.running.fitting import EpochLog
from tests import resuming
from tests.environments import Walk, limited
from tests.fragments import states_of, traces, values_of

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
    "gradient_norm",
    "entropy",
    "explained_variance",
    "learning_rate",
}
VALIDATION = {"val_return", "val_return_std", "val_length"}


def cartpole(num_envs: int = 4, seed: int = 0, **options: Any) -> Any:
    return kpg.make("CartPole-v1", num_envs=num_envs, seed=seed, **options)


def weights(trainer: Any) -> list[np.ndarray]:
    return values_of(trainer.weights)


class Fitted(NamedTuple):
    """A trainer and the environment that its program was made for."""

    trainer: Any
    env: Any


@pytest.fixture(scope="module")
def compiled() -> Fitted:
    """PPO after an iteration; a second one needs no other program."""
    env = cartpole()
    small: dict[str, Any] = {"hidden_units": (8,), "seed": 0}
    trainer: Any = kpg.trainers.PPO(
        kpg.models.Policy(env.observation_space, env.action_space, **small),
        kpg.models.Critic(env.observation_space, **small),
        num_steps=8,
        num_epochs=2,
        minibatch_size=16,
        seed=0,
    )
    optimizer = keras.optimizers.Adam(1e-2)
    trainer.compile(optimizer, jit_compile=False, steps_per_execution=1)
    trainer.fit(env, steps_per_epoch=1, verbose=0)
    return Fitted(trainer, env)


@pytest.fixture
def fitted(compiled: Fitted) -> Iterator[Fitted]:
    """The same for one test, which may change its numbers."""
    trainer = compiled.trainer
    variables = [*trainer.variables, *trainer.optimizer.variables]
    before = values_of(variables)
    yield compiled
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    assert traces(trainer) == 1


# On the host, `test_support.py` and the papers' iterations count traces and logs, too.
@pytest.mark.parametrize(
    "backend", ["graph", pytest.param("gymnasium", marks=pytest.mark.slow)]
)
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
    steps, rows = history.history["env_steps"], np.array([160, 320, 480])
    resets = np.zeros(3)
    if backend == "gymnasium":  # a row after each end, or the first of the next epoch
        resets = np.cumsum(history.history["episodes"])
    assert np.all(np.abs(rows - steps - resets) <= (4 if backend == "gymnasium" else 0))
    assert sum(history.history["episodes"]) > 5
    assert np.isfinite(history.history["val_return"]).all()
    assert traces(trainer) == 1
    assert trainer.env_steps == 16 * 32 or backend == "gymnasium"
    assert trainer.train_seconds > 0


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("algorithm", ["ActorCritic", "REINFORCE"])
def test_the_other_algorithms_log_what_they_have(
    algorithm: str, make_trainer: Make
) -> None:
    env = cartpole(max_episode_steps=8)
    history = make_trainer(algorithm, num_steps=8).fit(
        env, steps_per_epoch=2, verbose=0
    )
    of_whole_episodes = {"valid_fraction"} if algorithm == "REINFORCE" else set()
    assert set(history.history) == LOGS | of_whole_episodes


@pytest.mark.slow  # `test_support.py` trains it, too
def test_reinforce_without_a_critic(make_trainer: Make) -> None:
    env = cartpole()
    policy = kpg.models.Policy(env.observation_space, env.action_space, seed=0)
    trainer = kpg.trainers.REINFORCE(policy, num_steps=500, seed=0)
    trainer.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    history = trainer.fit(env, epochs=4, steps_per_epoch=5, verbose=0).history
    assert not {"value_loss", "explained_variance"} & set(history)
    assert history["return"][-1] > 1.2 * history["return"][0]
    # One episode of each copy and iteration is learned from, and no other is logged.
    assert history["episodes"] == [20] * 4
    taught = 500 * np.array(history["valid_fraction"])
    np.testing.assert_allclose(history["length"], taught, rtol=1e-5)


def test_keras_callbacks_work_unchanged(fitted: Fitted, tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    trainer, callbacks = fitted.trainer, keras.callbacks
    done = trainer.env_steps
    trainer.fit(
        fitted.env,
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
            callbacks.TensorBoard(tmp_path / "board", 1, update_freq=1),
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
    best = kpg.load(tmp_path / "best.keras")
    assert best.env_steps - done in (64, 128, 192)


def test_early_stopping_restores_the_best_weights(fitted: Fitted) -> None:
    trainer = fitted.trainer
    kept: list[list[np.ndarray]] = []

    class Falls(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            kept.append(weights(self.model))
            logs["score"] = -abs(epoch - 1)

    stopping = keras.callbacks.EarlyStopping(
        "score", mode="max", patience=2, restore_best_weights=True
    )
    history = trainer.fit(
        fitted.env,
        epochs=9,
        steps_per_epoch=2,
        verbose=0,
        callbacks=[Falls(), stopping],
    )
    assert len(history.history["loss"]) == 4
    for got, want in zip(weights(trainer), kept[1], strict=True):
        np.testing.assert_array_equal(got, want)


def test_terminate_on_nan(fitted: Fitted) -> None:
    class Spoil(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            logs["loss"] = float("nan")

    trainer = fitted.trainer
    trainer.fit(
        fitted.env,
        epochs=5,
        steps_per_epoch=2,
        verbose=0,
        callbacks=[Spoil(), keras.callbacks.TerminateOnNaN()],
    )
    assert trainer.stop_training


def test_stop_training(fitted: Fitted) -> None:
    trainer = fitted.trainer

    def stop(batch: int, logs: Any) -> None:
        trainer.stop_training = True

    done = trainer.env_steps
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=stop)
    trainer.fit(
        fitted.env, epochs=5, steps_per_epoch=9, verbose=0, callbacks=[callback]
    )
    assert trainer.env_steps == done + 32


def test_a_callback_and_a_schedule_both_setting_the_rate(make_trainer: Make) -> None:
    trainer = make_trainer("PPO", learning_rate_schedule="linear")
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 1e-3)
    with pytest.raises(ValueError, match=r"use only one.*learning_rate_schedule"):
        trainer.fit(
            cartpole(), epochs=2, steps_per_epoch=1, verbose=0, callbacks=[scheduler]
        )


def test_a_broken_environment_leaves_the_weights(make_trainer: Make) -> None:
    # From the tenth step on the reward is inf.
    walk = Walk(reward=lambda time, action: 1.0 / tf.maximum(10.0 - time, 0.0))
    env = kpg.environments.as_environment(walk, num_envs=4, seed=0)
    trainer = make_trainer("PPO", env=env)
    trainer.fit(env, steps_per_epoch=1, verbose=0)
    before = values_of(trainer.trainable_variables)
    with pytest.raises(ValueError, match=r"not finite; nothing was learned.*Received"):
        trainer.fit(env, steps_per_epoch=1, verbose=0)
    after = values_of(trainer.trainable_variables)
    for weight, value in zip(after, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    trainer.fit(env, steps_per_epoch=1, verbose=0)  # begins new episodes


def test_an_evaluation_in_the_graph_breaks_nothing_off(fitted: Fitted) -> None:
    before = states_of(fitted.trainer)
    fitted.trainer.evaluate(fitted.env, 1)
    np.testing.assert_array_equal(states_of(fitted.trainer), before)


def test_progress_goes_to_standard_output(
    fitted: Fitted, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted.trainer.fit(fitted.env, epochs=2, steps_per_epoch=2, verbose=2)
    output = capsys.readouterr().out
    assert "Epoch 2/2" in output and "entropy" in output


def sums(*episodes: float, **numbers: float) -> Any:
    """Returns what an engine does: episodes are their returns, lengths and number."""
    ended = Episodes(*(episodes or (0.0, 0.0, 0.0)))
    none = {"broken_environment": 0.0, "broken_policy": 0.0}
    return {**none, **ended._asdict(), **numbers}


def test_what_is_measured_is_averaged_by_what_it_is_of() -> None:
    log = EpochLog()
    log.add(sums(10.0, 4.0, 2.0, loss=3.0), 3, 24, 0.5)
    log.add(sums(30.0, 9.0, 3.0, loss=4.0), 1, 8, 0.5)
    logs = log.epoch_logs()
    assert logs == {
        "return": 10.0,
        "length": 3.0,
        "episodes": 3,
        "steps_per_second": 32.0,
        "loss": 1.0,
    }
    assert log.batch_logs() == logs and log.broken is None


def test_no_episode_has_no_mean_yet() -> None:
    log = EpochLog()
    log.add(sums(loss=math.nan), 1, 8, 0.5)
    logs = log.epoch_logs()
    assert math.isnan(logs["return"]) and math.isnan(logs["length"])
    # A loss that is no number is what `TerminateOnNaN` waits for.
    assert {"return", "length"}.isdisjoint(log.batch_logs())
    assert math.isnan(log.batch_logs()["loss"])


@pytest.mark.parametrize("name", ["broken_environment", "broken_policy"])
def test_one_broken_iteration_breaks_the_epoch(name: str) -> None:
    log = EpochLog()
    log.add(sums(loss=1.0), 1, 8, 0.5)
    log.add(sums(loss=1.0, **{name: 1.0}), 1, 8, 0.5)
    assert log.broken == name
    assert name not in log.epoch_logs()


def hooks() -> tuple[keras.callbacks.Callback, list[Any]]:
    """Returns a callback, and the list of the calls that it gets."""
    seen: list[Any] = []

    def recorder(name: str) -> Callable[..., None]:
        def hook(self: Any, *arguments: Any, logs: Any = None) -> None:
            given = (*arguments, logs)
            seen.append((name, *(type(x) if isinstance(x, dict) else x for x in given)))

        return hook

    names = [name for name in dir(keras.callbacks.Callback) if name.startswith("on_")]
    kind = type("Hooks", (keras.callbacks.Callback,), {n: recorder(n) for n in names})
    return kind(), seen


def test_calls_the_hooks_of_callbacks_as_keras_does(fitted: Fitted) -> None:
    shared: dict[str, Any] = {
        "epochs": 4,
        "initial_epoch": 1,
        "validation_freq": [2, 4],
        "verbose": 0,
    }
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    network.compile("sgd", "mse")
    rows = np.zeros((6, 2)), np.zeros((6, 1))
    callback, want = hooks()
    pairs = {"batch_size": 2, "validation_data": [part[:2] for part in rows]}
    history = network.fit(*rows, **pairs, **shared, callbacks=[callback])
    for listed in (False, True):
        callback, got = hooks()
        ours = fitted.trainer.fit(
            fitted.env,
            steps_per_epoch=3,
            callbacks=keras.callbacks.CallbackList([callback]) if listed else callback,
            validation_data=fitted.env,
            validation_episodes=4,
            **shared,
        )
        assert got == want
        assert ours.epoch == history.epoch and ours.params == history.params
        assert len(ours.history["val_return"]) == 2
    callback, got = hooks()
    fitted.trainer.evaluate(fitted.env, 4, callbacks=callback)
    first = [name for name, *_ in want].index("on_test_begin")
    assert got == want[first : first + 4]


def test_what_is_no_callback_is_refused(fitted: Fitted) -> None:
    given: Any = [keras.callbacks.TerminateOnNaN]
    with pytest.raises(ValueError, match=r"`callbacks` must be.*Received: callbacks=<"):
        fitted.trainer.fit(fitted.env, callbacks=given)
    with pytest.raises(ValueError, match="`validation_freq` must be.*Received: .*=0"):
        fitted.trainer.fit(fitted.env, validation_freq=0)
    with pytest.raises(ValueError, match="`initial_epoch` must be.*=-1"):
        fitted.trainer.fit(fitted.env, initial_epoch=-1)


def test_a_run_that_broke_off_is_backed_up_and_restored(
    fitted: Fitted, tmp_path: Path
) -> None:
    def breaks(epoch: int, logs: Any) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    trainer, seen = fitted.trainer, list[int]()
    shared: dict[str, Any] = {"epochs": 4, "steps_per_epoch": 1, "verbose": 0}
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    failing = keras.callbacks.LambdaCallback(on_epoch_end=breaks)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(fitted.env, callbacks=[backup, failing], **shared)
    done = weights(trainer)
    for variable in trainer.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    restored: list[list[np.ndarray]] = []
    following = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(epoch),
        on_train_begin=lambda logs: restored.append(weights(trainer)),
    )
    trainer.fit(fitted.env, callbacks=[backup, following], **shared)
    assert seen == [2, 3]
    for got, want in zip(restored[0], done, strict=True):
        np.testing.assert_array_equal(got, want)
    trainer.fit(fitted.env, callbacks=following, **shared)  # a run of its own
    assert seen == [2, 3, 0, 1, 2, 3]


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("kind", ["file", "backup"])
def test_a_rate_decays_once_however_often_training_begins(
    kind: str, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"epochs": 6, "steps_per_epoch": 1, "verbose": 0}

    def breaks(epoch: int, logs: Any) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    path = tmp_path / "{epoch}.keras"
    saving: Any = keras.callbacks.ModelCheckpoint(path)
    if kind == "backup":
        saving = keras.callbacks.BackupAndRestore(tmp_path)
    failing = keras.callbacks.LambdaCallback(on_epoch_begin=breaks)
    trainer = resuming.make(resuming.in_graph())
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(resuming.in_graph(), callbacks=[saving, failing], **how)
    if kind == "file":
        loaded = kpg.load(tmp_path / "3.keras")
        history = loaded.fit(resuming.in_graph(), initial_epoch=3, **how)
    else:
        other = resuming.make(resuming.in_graph())
        other.optimizer.learning_rate = 1.0  # the file has another one
        history = other.fit(resuming.in_graph(), callbacks=[saving], **how)
    left = [0.05 * (1 - epoch / 6) for epoch in (3, 4, 5)]
    assert history.epoch == [3, 4, 5]
    assert history.history["learning_rate"] == pytest.approx(left)


def test_keras_limits_trials_and_stops(
    fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.config, "max_epochs", lambda: 2, raising=False)
    monkeypatch.setattr(keras.config, "max_steps_per_epoch", lambda: 3, raising=False)
    done = fitted.trainer.env_steps
    history = fitted.trainer.fit(fitted.env, 5, steps_per_epoch=9, verbose=0)
    assert len(history.epoch) == 2 and fitted.trainer.env_steps == done + 6 * 32

    def stop(epoch: int, logs: Any) -> None:
        fitted.trainer.stop_training = True

    callback = keras.callbacks.LambdaCallback(on_epoch_begin=stop)
    history = fitted.trainer.fit(fitted.env, 2, 3, callbacks=callback, verbose=0)
    # Keras looks after a batch.
    assert len(history.epoch) == 1 and fitted.trainer.env_steps == done + 7 * 32


def test_checkpoints_by_batches_and_of_the_best(fitted: Fitted, tmp_path: Path) -> None:
    kind = keras.callbacks.ModelCheckpoint
    best: dict[str, Any] = {"monitor": "entropy", "mode": "min", "save_best_only": True}
    history = fitted.trainer.fit(
        fitted.env,
        epochs=2,
        steps_per_epoch=3,
        verbose=0,
        callbacks=[
            kind(tmp_path / "{epoch}-{batch}.keras", save_freq=2),
            kind(tmp_path / "best.weights.h5", save_weights_only=True, **best),
            kind(tmp_path / "{epoch:02d}-{entropy:.3f}.keras", **best),
        ],
    ).history
    names = {path.name for path in tmp_path.iterdir()}
    assert {"1-2.keras", "2-1.keras", "2-3.keras"} <= names
    entropies = history["entropy"]
    assert (
        f"{entropies.index(min(entropies)) + 1:02d}-{min(entropies):.3f}.keras" in names
    )
    before = weights(fitted.trainer)
    fitted.trainer.load_weights(tmp_path / "best.weights.h5")
    if entropies[1] > entropies[0]:
        assert any(map(np.any, map(np.subtract, before, weights(fitted.trainer))))
    loaded = kpg.load(tmp_path / "2-3.keras")
    for got, want in zip(weights(loaded), before, strict=True):
        np.testing.assert_array_equal(got, want)


def averages_of(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    return [own for own in optimizer.variables if own.path.endswith("_average")]


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("frequency", [None, 2])
def test_the_average_of_the_weights_is_what_remains(
    frequency: int | None, make_trainer: Make
) -> None:
    """At the end of a fit, and with a frequency also within it, as Keras says."""
    optimizer = keras.optimizers.SGD(
        0.1, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=frequency
    )
    scaled = keras.optimizers.LossScaleOptimizer(optimizer) if frequency else optimizer
    trainer = make_trainer("ActorCritic", optimizer=scaled)
    steps: list[list[np.ndarray]] = []
    trainer.fit(
        cartpole(),
        epochs=3,
        steps_per_epoch=1,
        verbose=0,
        callbacks=keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: steps.append(
                values_of(trainer.learned_variables())
            )
        ),
    )
    averages = values_of(averages_of(optimizer))
    for got, average in zip(
        values_of(trainer.learned_variables()), averages, strict=True
    ):
        np.testing.assert_array_equal(got, average)
    assert any(map(np.any, map(np.subtract, averages, steps[-1])))
    if frequency is None:
        for average, *passed in zip(averages, *steps, strict=True):
            want = passed[0]
            for weight in passed[1:]:
                want = 0.5 * (want + weight)
            np.testing.assert_allclose(average, want, atol=1e-6)


@pytest.mark.usefixtures("one_by_one")
def test_evaluation_swaps_the_averages_in(make_trainer: Make) -> None:
    optimizer = keras.optimizers.SGD(0.1, use_ema=True)
    trainer, env = make_trainer("ActorCritic", optimizer=optimizer), cartpole()
    trainer.fit(env, steps_per_epoch=3, verbose=0)
    for average in averages_of(optimizer):
        average.assign_add(tf.ones_like(average))
    before, seen = values_of(trainer.learned_variables()), []

    def look(batch: int, logs: Any) -> None:
        seen.append(values_of(trainer.learned_variables()))

    looking = keras.callbacks.LambdaCallback()
    looking.on_test_batch_begin = look
    trainer.evaluate(env, 4, callbacks=[keras.callbacks.SwapEMAWeights(), looking])
    for got, now, old in zip(
        seen[0], values_of(trainer.learned_variables()), before, strict=True
    ):
        np.testing.assert_allclose(got, old + 1.0, atol=1e-5)
        np.testing.assert_allclose(now, old, atol=1e-5)


@pytest.mark.usefixtures("one_by_one")
def test_environment_steps_are_real_ones(make_trainer: Make) -> None:
    """Half the rows of episodes of one step only reset them with NEXT_STEP."""
    env = kpg.environments.as_environment(
        SyncVectorEnv([lambda: limited(0, 1)] * 2), seed=0
    )
    trainer = make_trainer("PPO", env=env, minibatch_size=16)
    history = trainer.fit(env, epochs=2, steps_per_epoch=1, verbose=0).history
    assert history["env_steps"] == [8, 16]
    assert trainer.env_steps == 16
    seconds = 8 / np.array(history["steps_per_second"])
    assert trainer.train_seconds <= seconds.sum() * 1.01


@pytest.mark.usefixtures("one_by_one")
def test_validation_takes_a_bound(make_trainer: Make) -> None:
    env = kpg.environments.as_environment(Walk(), num_envs=2, seed=0)
    trainer = make_trainer("PPO", env=env, minibatch_size=16)
    options = {"epochs": np.int64(1), "steps_per_epoch": np.int64(1), "verbose": 0}
    validation = kpg.environments.as_environment(Walk(), num_envs=2, seed=1)
    history = trainer.fit(
        env,
        validation_data=validation,
        validation_episodes=np.int64(2),
        validation_max_steps=5,
        **options,
    ).history
    assert history["val_length"] == [5.0]
    with pytest.raises(
        ValueError, match="`validation_max_steps` has no effect without"
    ):
        trainer.fit(env, validation_max_steps=5, **options)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("length", [1, 5])
def test_a_budget_of_real_steps_is_spent(length: int, make_trainer: Make) -> None:
    """Iterations that half consist of resets are made up for, and never too many."""
    env = kpg.environments.as_environment(
        SyncVectorEnv([lambda: limited(0, length)] * 2), seed=0
    )
    trainer = make_trainer(
        "PPO", env=env, minibatch_size=16, learning_rate_schedule="linear"
    )
    trainer.compile(keras.optimizers.SGD(1.0), steps_per_execution=1)
    history = trainer.fit(env, epochs=2, steps_per_epoch=2, verbose=0, real_steps=True)
    assert 64 - 16 < trainer.env_steps <= 64
    rates = np.array(history.history["learning_rate"])
    before = np.array([history.history["env_steps"]]) - (8 if length == 1 else 13)
    np.testing.assert_allclose(rates, 1.0 - before[0] / 64, atol=0.05)
