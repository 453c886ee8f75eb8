"""One call of `fit`: epochs, callbacks, validation and time."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Collection, Sequence
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
    IDLE,
    SKIPPED,
    not_finite,
)
from kpg.trainers.running import memory
from kpg.trainers.running.checkpoints import Checkpoint
from kpg.trainers.running.compilation import Pace
from kpg.trainers.running.engine import Engine
from kpg.trainers.running.progress_bar import ProgressBar
from kpg.types import Logs

Callbacks: TypeAlias = (
    "keras.callbacks.Callback | Sequence[keras.callbacks.Callback] | None"
)

# What an evaluation returns besides numbers that are logged.
_NOT_LOGGED = ("episodes", "cut", "returns")


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

    def batch_logs(self, of_steps: Collection[str] = ()) -> Logs:
        """Returns the running means of the epoch, without unknown ones."""
        return {
            name: value
            for name, value in self.epoch_logs(of_steps).items()
            if name == "loss" or not math.isnan(value)
        }

    def epoch_logs(self, of_steps: Collection[str] = ()) -> Logs:
        """Returns the means over the epoch; those `of_steps` are NaN if it took none.

        An iteration without gradient steps does not count in them.
        """
        count = self.sums.get("number", 0.0)
        hidden = (*FAILED, FAULT_VALUE, SKIPPED, IDLE, *Episodes._fields)
        skipped = {k: int(n) for k, n in self.sums.items() if k == SKIPPED}
        taken = self._iterations - self.sums.get(IDLE, 0.0)
        means = {
            name: (number / taken if taken > 0 else math.nan)
            if name in of_steps
            else number / max(self._iterations, 1)
            for name, number in self.sums.items()
            if name not in hidden
        }
        return {
            "return": self.sums["returns"] / count if count else math.nan,
            "length": self.sums["lengths"] / count if count else math.nan,
            "episodes": int(count),
            "steps_per_second": self._env_steps / max(self.seconds, 1e-9),
            **skipped,
            **means,
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
    if verbose != 0:
        given = [*given, ProgressBar()]  # in which Keras sees its own
    return keras.callbacks.CallbackList(
        given,
        add_history=add_history,
        verbose=verbose,
        epochs=epochs,
        steps=steps,
        model=model,
    )


def logs_of(result: dict[str, Any]) -> Logs:
    """Returns what callbacks see of an evaluation."""
    return {k: float(own) for k, own in result.items() if k not in _NOT_LOGGED}


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
        self._earlier = [0.0, 0.0]  # seconds of other processes
        self._pace = Pace(iterations_per_call)
        self._step, self._log = 0, EpochLog()  # of the epoch that is not over
        own = vars(self.callbacks)["callbacks"]
        self._checkpoints = [one for one in own if isinstance(one, Checkpoint)]
        if len(self._checkpoints) > 1:
            checks.refuse("callbacks", "must hold one `Checkpoint`", len(own))

    def run(self, initial_epoch: int) -> None:
        """Runs the epochs from `initial_epoch` on, or where a callback says."""
        with contextlib.ExitStack() as alone:
            for checkpoint in self._checkpoints:
                alone.enter_context(checkpoint.alone(self))
            self._run(initial_epoch)

    def _run(self, initial_epoch: int) -> None:
        self._model.stop_training = False
        self._model._initial_epoch = None
        self._tell(self.callbacks.on_train_begin)
        engine, self._epoch = self.engine, self._model._initial_epoch or initial_epoch
        self._base_rates = self._first_rates = engine.rates
        self._before = self._env_steps() - self._epoch * self.steps * engine.rows
        engine.env.measured()  # by a fit that broke off
        engine.real_steps = self.real_steps
        # After `on_train_begin`, in which callbacks forget what they are reminded of.
        with engine.agreement.meeting() as said:
            resumed = any(own.restore(self) for own in self._checkpoints)
            over = resumed and memory.ended(vars(self.callbacks)["callbacks"])
            place = [float(self._epoch), float(self._step)]
            said += place
        if said and said != [engine.agreement.workers * own for own in place]:
            raise ValueError(
                "All workers must go on from one checkpoint: give `Checkpoint` a "
                f"directory that they share. Received: epoch and step {place} here"
            )
        logs: Logs | None = None
        if self._schedule in schedules.SCHEDULES and self._schedule != "constant":
            engine.base_rates = self._base_rates
        try:
            while self._epoch < self.epochs and not over:
                logs = self._run_epoch(self._epoch)
                over = self._model.stop_training
        except BaseException:
            engine.restart()  # what broke off may be in any state
            raise
        finally:
            self._report_times()
            if engine.base_rates is not None:  # from which a later fit starts, too
                engine.rates, engine.base_rates = engine.base_rates, None
        self.finalize()
        self._tell(self.callbacks.on_train_end, logs)

    def settings(self) -> dict[str, Any]:
        """Returns the arguments that stay the same when a training goes on."""
        return {"steps_per_epoch": self.steps, "real_steps": self.real_steps}

    def state(self) -> dict[str, Any]:
        """Returns where this is, to go on from there elsewhere."""
        self._report_times()
        return {
            "epoch": self._epoch,
            "step": self._step,
            "log": vars(self._log),
            "steps_before": self._before,
            "first_rates": self._first_rates,
            "base_rates": self._base_rates,
            "rates": self.engine.rates,
            "quickest": self._pace.quickest,
            "seconds": [self._model.compile_seconds, self._model.train_seconds],
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from where another one was when it returned its `state`."""
        self._epoch, self._step = state["epoch"], state["step"]
        vars(self._log).update(state["log"])
        self._before = state["steps_before"]
        self._first_rates = state["first_rates"]
        self._base_rates, self.engine.rates = state["base_rates"], state["rates"]
        self._pace.quickest = state["quickest"]
        self._earlier = state["seconds"]

    def _run_epoch(self, epoch: int) -> Logs:
        rates = self.engine.rates
        self._tell(self._begin_epoch, epoch, rates)
        logs = self._train(epoch)
        stopped, rates = self._model.stop_training, self.engine.rates
        logs.update(self.engine.env.measured())
        logs.update(env_steps=self._env_steps(), learning_rate=rates[0])
        logs = self.engine.agreement.of_chief(lambda: self._validated(epoch, logs))
        self._tell(self._end_epoch, epoch, stopped, rates, logs)
        return logs

    def _tell(
        self, notify: Callable[..., object], *arguments: object, seconds: float = 0.0
    ) -> float:
        """Calls callbacks; all workers stop if those of one of them want to.

        Returns the mean of all workers' `seconds`.
        """
        agreement = self.engine.agreement
        with agreement.meeting() as said:
            notify(*arguments)
            said += [float(self._model.stop_training), seconds]
        self._model.stop_training = said[0] > 0.0
        return said[1] / agreement.workers

    def _begin_epoch(self, epoch: int, rates: list[float]) -> None:
        self.callbacks.on_epoch_begin(epoch)
        self._refuse_two_schedules(rates)

    def _end_epoch(
        self, epoch: int, stopped: bool, rates: list[float], logs: Logs
    ) -> None:
        self.callbacks.on_epoch_end(epoch, logs)
        self._epoch, self._step, self._log = epoch + 1, 0, EpochLog()
        last = self._epoch == self.epochs
        if not last:
            self._refuse_two_schedules(rates)
        # What stops within an epoch has written where it is; that epoch goes on.
        for checkpoint in () if stopped else self._checkpoints:
            checkpoint.after_epoch(
                self, epoch + 1, last or bool(self._model.stop_training)
            )

    def _validated(self, epoch: int, logs: Logs) -> Logs:
        """Returns an epoch's logs with those of its evaluation, if it ends with one."""
        if self.validate is not None and self._validates(epoch + 1):
            validated = logs_of(self.validate(self.callbacks))
            logs.update({f"val_{name}": own for name, own in validated.items()})
        return logs

    def _validates(self, epoch: int) -> bool:
        """Whether there is an evaluation after this epoch, counted from 1."""
        freq = self.validation_freq
        return epoch % freq == 0 if isinstance(freq, int) else epoch in freq

    def _train(self, epoch: int) -> Logs:
        """Runs the iterations that are left of an epoch and returns its logs."""
        log = self._log
        total = self.epochs * self.steps
        while True:
            done: float = epoch * self.steps + self._step
            if self.real_steps:
                done = (self._env_steps() - self._before) / self.engine.rows
            left = int((epoch + 1) * self.steps - done)
            if left < 1:
                break
            size = self._pace.size(left)
            self._tell(self.callbacks.on_train_batch_begin, self._step)
            start, before = time.perf_counter(), self._env_steps()
            sums = self.engine.run(size, done, total, self._base_rates, log.sums)
            seconds = time.perf_counter() - start
            self._seconds.append((seconds, size))
            log.add(sums, size, self._env_steps() - before, seconds)
            self._refuse_broken(log)
            self._step += size
            logs = log.batch_logs(self.engine.learner.descent.names)
            seconds = self._tell(self._end_batch, logs, seconds=seconds)
            self._pace.add(seconds, size)
            if self._model.stop_training:
                break
        return log.epoch_logs(self.engine.learner.descent.names)

    def _end_batch(self, logs: Logs) -> None:
        self.callbacks.on_train_batch_end(self._step - 1, logs)
        for checkpoint in self._checkpoints:
            checkpoint.after_batch(self)

    def _refuse_broken(self, log: EpochLog) -> None:
        """Raises if an iteration failed: nothing could be learned from it."""
        if log.broken == "broken_environment":
            raise ValueError(
                f"{self.engine.env.name} gave integers outside their space, or "
                "observations or rewards that are not finite; nothing was learned from "
                "them. Wrap or fix the environment; `kpg doctor` says more. Received: "
                "inf or nan in float32, or no choice of a Discrete, MultiDiscrete or "
                "MultiBinary"
            )
        if log.broken:
            raise broken_policy()
        if fault := int(log.sums.get(FAULT, 0.0)):
            suspect = self.engine.learner.tally.suspects[fault - 1]
            raise not_finite(suspect, log.sums[FAULT_VALUE])

    def _report_times(self) -> None:
        """Splits time into building graphs and training, by the later calls' pace."""
        earlier = self._earlier
        if not self._seconds:
            self._model.compile_seconds, self._model.train_seconds = earlier
            return
        first, size = self._seconds[0]
        later = sum(seconds for seconds, _ in self._seconds[1:])
        count = sum(size for _, size in self._seconds[1:])
        training = min(first, later / count * size) if count else first
        self._model.compile_seconds = earlier[0] + first - training
        self._model.train_seconds = earlier[1] + later + training

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
