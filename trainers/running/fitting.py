"""One call of `fit`: epochs, callbacks, validation and time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from kpg import checks, schedules
from kpg.trainers.acting.graph import Episodes
from kpg.trainers.acting.host import broken_policy
from kpg.trainers.learning.iteration import BROKEN, FAILED
from kpg.trainers.learning.soundness import (
    FAULT,
    FAULT_VALUE,
    SKIPPED,
    not_finite,
)
from kpg.trainers.running.compilation import Pace
from kpg.trainers.running.engine import Engine
from kpg.types import Logs

Callbacks: TypeAlias = (
    "keras.callbacks.Callback | Sequence[keras.callbacks.Callback] | None"
)

_VALIDATED = ("return", "return_std", "length")


class EpochLog:
    """Accumulates what the calls of one epoch return."""

    def __init__(self) -> None:
        self.sums: Logs = {}
        self._iterations = 0
        self._env_steps = 0
        self.seconds = 0.0

    def add(self, sums: Logs, iterations: int, env_steps: int, seconds: float) -> None:
        """Takes the sums after a call of `Engine.run`, and adds what it took."""
        self.sums = sums
        self._iterations += iterations
        self._env_steps += env_steps
        self.seconds += seconds

    @property
    def broken(self) -> str | None:
        """The member of `BROKEN` that gave values that are not finite, or `None`."""
        return next((name for name in BROKEN if self.sums[name] > 0), None)

    def batch_logs(self) -> Logs:
        """Returns the running means of the epoch, without unknown ones."""
        return {
            name: value
            for name, value in self.epoch_logs().items()
            if name == "loss" or not math.isnan(value)
        }

    def epoch_logs(self) -> Logs:
        """Returns the means over the epoch."""
        count = self.sums.get("number", 0.0)
        hidden = (*FAILED, FAULT_VALUE, SKIPPED, *Episodes._fields)
        skipped = {k: int(n) for k, n in self.sums.items() if k == SKIPPED}
        return {
            "return": self.sums["returns"] / count if count else math.nan,
            "length": self.sums["lengths"] / count if count else math.nan,
            "episodes": int(count),
            "steps_per_second": self._env_steps / max(self.seconds, 1e-9),
            **skipped,
            **{
                name: number / max(self._iterations, 1)
                for name, number in self.sums.items()
                if name not in hidden
            },
        }


def callback_list(
    callbacks: Callbacks,
    model: keras.Model,
    verbose: int | str,
    epochs: int,
    steps: int,
    add_history: bool,
) -> keras.callbacks.CallbackList:
    """Returns Keras's list of callbacks, as `keras.Model.fit` makes it."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        # That of a `fit` which evaluates; Keras's list may have no model at all.
        if not add_history and getattr(callbacks, "model", None) is model:
            return callbacks
        callbacks = vars(callbacks)["callbacks"]
    given = tf.nest.flatten([] if callbacks is None else callbacks)
    for callback in given:
        if not isinstance(callback, keras.callbacks.Callback):
            checks.refuse("callbacks", "must be `keras.callbacks.Callback`s", callback)
    return keras.callbacks.CallbackList(
        given,
        add_history=add_history,
        add_progbar=verbose != 0,
        verbose=verbose,
        epochs=epochs,
        steps=steps,
        model=model,
    )


def logs_of(result: dict[str, Any]) -> Logs:
    """Returns what callbacks see of an evaluation."""
    return {name: float(result[name]) for name in _VALIDATED}


class Fitting:
    """Runs the epochs of one `Trainer.fit`, up to `epochs`.

    Each has `steps` iterations, or with `real_steps` as many as take their steps.
    """

    def __init__(
        self,
        engine: Engine,
        model: keras.Model,
        epochs: int,
        steps: int,
        iterations_per_call: int | None,
        callbacks: Callbacks,
        verbose: int | str,
        validate: Callable[[keras.callbacks.CallbackList], dict[str, Any]] | None,
        validation_freq: int | Sequence[int],
        finalize: Callable[[], None],
        real_steps: bool = False,
    ) -> None:
        self.engine = engine
        self.epochs = epochs
        self.steps = steps
        self.callbacks = callback_list(
            callbacks, model, verbose, epochs, steps, add_history=True
        )
        self.validate = validate
        self.validation_freq = validation_freq
        self.finalize = finalize
        self.real_steps = real_steps
        self._model = model
        self._schedule = engine.training.settings.learning_rate_schedule
        self._seconds: list[tuple[float, int]] = []
        self._pace = Pace(iterations_per_call)

    def run(self, initial_epoch: int) -> None:
        """Runs the epochs from `initial_epoch` on, or where a callback says."""
        self._model.stop_training = False
        self._model._initial_epoch = None
        engine, self._base_rates = self.engine, self.engine.rates
        self.callbacks.on_train_begin()
        logs: Logs | None = None
        first = self._model._initial_epoch or initial_epoch
        self._before = self._env_steps() - first * self.steps * engine.rows
        engine.env.measured()  # by a fit that broke off
        engine.real_steps = self.real_steps
        if self._schedule in schedules.SCHEDULES and self._schedule != "constant":
            engine.base_rates = self._base_rates
        try:
            for epoch in range(first, self.epochs):
                logs = self._run_epoch(epoch)
                if self._model.stop_training:
                    break
        except BaseException:
            engine.restart()  # what broke off may be in any state
            raise
        finally:
            self._report_times()
            if engine.base_rates is not None:  # from which a later fit starts, too
                engine.rates, engine.base_rates = engine.base_rates, None
        self.finalize()
        self.callbacks.on_train_end(logs)

    def _run_epoch(self, epoch: int) -> Logs:
        rates = self.engine.rates
        self.callbacks.on_epoch_begin(epoch)
        self._refuse_two_schedules(rates)
        logs = self._train(epoch)
        rates = self.engine.rates
        logs.update(self.engine.env.measured())
        logs.update(env_steps=self._env_steps(), learning_rate=rates[0])
        if self.validate is not None and self._validates(epoch + 1):
            validated = logs_of(self.validate(self.callbacks))
            logs.update({f"val_{name}": own for name, own in validated.items()})
        self.callbacks.on_epoch_end(epoch, logs)
        if epoch + 1 < self.epochs:
            self._refuse_two_schedules(rates)
        return logs

    def _validates(self, epoch: int) -> bool:
        """Whether there is an evaluation after this epoch, counted from 1."""
        freq = self.validation_freq
        return epoch % freq == 0 if isinstance(freq, int) else epoch in freq

    def _train(self, epoch: int) -> Logs:
        """Runs the iterations of one epoch and returns their logs."""
        log, env = EpochLog(), self.engine.env
        total, step = self.epochs * self.steps, 0
        while True:
            done: float = epoch * self.steps + step
            if self.real_steps:
                done = (self._env_steps() - self._before) / self.engine.rows
            left = int((epoch + 1) * self.steps - done)
            if left < 1:
                break
            size = self._pace.size(left)
            self.callbacks.on_train_batch_begin(step)
            start, before = time.perf_counter(), self._env_steps()
            sums = self.engine.run(size, done, total, self._base_rates, log.sums)
            seconds = time.perf_counter() - start
            self._seconds.append((seconds, size))
            self._pace.add(seconds, size)
            log.add(sums, size, self._env_steps() - before, seconds)
            if log.broken == "broken_environment":
                raise ValueError(
                    f"{env.name} gave integers outside their space, or observations or "
                    "rewards that are not finite; nothing was learned from them. Wrap "
                    "or fix the environment; `kpg doctor` says more. Received: inf or "
                    "nan in float32, or no choice of a Discrete, MultiDiscrete or "
                    "MultiBinary"
                )
            if log.broken:
                raise broken_policy()
            if fault := int(sums.get(FAULT, 0.0)):
                suspect = self.engine.learner.tally.suspects[fault - 1]
                raise not_finite(suspect, sums[FAULT_VALUE])
            step += size
            self.callbacks.on_train_batch_end(step - 1, log.batch_logs())
            if self._model.stop_training:
                break
        return log.epoch_logs()

    def _report_times(self) -> None:
        """Splits time into building graphs and training, by the later calls' pace."""
        if not self._seconds:
            return
        first, size = self._seconds[0]
        later = sum(seconds for seconds, _ in self._seconds[1:])
        count = sum(size for _, size in self._seconds[1:])
        training = min(first, later / count * size) if count else first
        self._model.compile_seconds = first - training
        self._model.train_seconds = later + training

    def _env_steps(self) -> int:
        return int(tf.convert_to_tensor(self.engine.training.env_steps))

    def _refuse_two_schedules(self, rates: list[float]) -> None:
        """Raises if a callback changed a rate that the trainer sets itself."""
        if self._schedule != "constant" and self.engine.rates != rates:
            raise ValueError(
                "A callback changed the optimizer's learning rate, which "
                "`learning_rate_schedule` sets in every iteration; use only one of "
                f"them. Received: learning_rate_schedule={self._schedule!r}"
            )
