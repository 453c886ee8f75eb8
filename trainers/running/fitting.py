"""One call of `fit`: epochs, callbacks, validation, and the clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from kpg import schedules
from kpg.environments.environment import Environment
from kpg.trainers.acting.host import broken_policy
from kpg.trainers.running.compilation import Pace
from kpg.trainers.running.engines import Engine
from kpg.trainers.running.logs import EpochLog

if TYPE_CHECKING:
    from kpg.trainers.trainer import Trainer


class Fitting:
    """Runs the epochs of one `Trainer.fit`.

    Args:
        trainer: The trainer, compiled.
        engine: What runs its iterations.
        callbacks: Keras's list of callbacks.
        epochs: Number of the last epoch.
        steps: Iterations in an epoch.
    """

    def __init__(
        self,
        trainer: Trainer,
        engine: Engine,
        callbacks: keras.callbacks.CallbackList,
        epochs: int,
        steps: int,
    ) -> None:
        self.trainer = trainer
        self.engine = engine
        self.callbacks = callbacks
        self.epochs = epochs
        self.steps = steps
        self._schedule = trainer.settings.learning_rate_schedule
        self._validation: tuple[Environment, int, int] | None = None
        self._seconds: list[tuple[float, int]] = []
        self._pace = Pace(trainer.iterations_per_call)

    def validate_on(self, env: Environment, episodes: int, frequency: int) -> None:
        """Evaluates on `env` after every `frequency` epochs."""
        self._validation = (env, episodes, frequency)

    def run(self, initial_epoch: int) -> None:
        """Runs the epochs from `initial_epoch` on.

        Raises:
            ValueError: If the environment breaks, or a callback and the trainer both
                set the learning rate.
        """
        trainer = self.trainer
        trainer.stop_training = False
        self._base_rates = self._learning_rates()
        self.callbacks.on_train_begin()
        logs: dict[str, float] = {}
        try:
            for epoch in range(initial_epoch, self.epochs):
                logs = self._run_epoch(epoch)
                if trainer.stop_training:
                    break
        finally:
            self._report_times()
            if self._schedule in schedules.SCHEDULES and self._schedule != "constant":
                # A later fit starts from the same rates.
                for index, optimizer in enumerate(trainer.optimizers):
                    optimizer.learning_rate = self._base_rates[index]
        self.callbacks.on_train_end(logs)

    def _run_epoch(self, epoch: int) -> dict[str, float]:
        rates = self._learning_rates()
        self.callbacks.on_epoch_begin(epoch)
        self._refuse_two_schedules(rates)
        logs = self._train(epoch)
        rates = self._learning_rates()
        logs.update(self.engine.env.measured())
        logs.update(env_steps=self.trainer.env_steps, learning_rate=rates[0])
        if self._validation is not None and (epoch + 1) % self._validation[2] == 0:
            logs.update(self._validate(*self._validation[:2]))
        self.callbacks.on_epoch_end(epoch, logs)
        if epoch + 1 < self.epochs:
            self._refuse_two_schedules(rates)
        return logs

    def _train(self, epoch: int) -> dict[str, float]:
        """Runs the iterations of one epoch and returns their logs."""
        log = EpochLog(self.engine.learner.names)
        env = self.engine.env
        rows = env.num_envs * self.trainer.settings.num_steps
        total, step = self.epochs * self.steps, 0
        while step < self.steps and not self.trainer.stop_training:
            size = self._pace.size(self.steps - step)
            self.callbacks.on_train_batch_begin(step)
            start = time.perf_counter()
            done = epoch * self.steps + step
            sums = self.engine.run(size, done, total, self._base_rates)
            seconds = time.perf_counter() - start
            self._seconds.append((seconds, size))
            self._pace.add(seconds, size)
            log.add(sums, size, size * rows, seconds)
            if log.broken:
                raise (
                    _broken_environment(env)
                    if (log.broken == "environment")
                    else broken_policy()
                )
            step += size
            self.callbacks.on_train_batch_end(step - 1, log.batch_logs())
        return log.epoch_logs()

    def _validate(self, env: Environment, episodes: int) -> dict[str, float]:
        self.callbacks.on_test_begin()
        result = self.trainer.evaluate(env, episodes)
        logs = {name: result[name] for name in ("return", "return_std", "length")}
        self.callbacks.on_test_end(logs)
        return {f"val_{name}": value for name, value in logs.items()}

    def _report_times(self) -> None:
        """Splits the time into building the graphs and training.

        The first execution does both; what the others took for each of their iterations
        says how much of it was training.
        """
        if not self._seconds:
            return
        first, size = self._seconds[0]
        later = sum(seconds for seconds, _ in self._seconds[1:])
        count = sum(size for _, size in self._seconds[1:])
        training = min(first, later / count * size) if count else first
        self.trainer.compile_seconds = first - training
        self.trainer.train_seconds = later + training

    def _learning_rates(self) -> list[float]:
        return [
            float(tf.convert_to_tensor(optimizer.learning_rate))
            for optimizer in self.trainer.optimizers
        ]

    def _refuse_two_schedules(self, rates: list[float]) -> None:
        """Raises if somebody changed the rate that the trainer sets itself."""
        if self._schedule != "constant" and self._learning_rates() != rates:
            raise ValueError(
                "A callback changed the optimizer's learning rate, which "
                "`learning_rate_schedule` sets in every iteration; use only one of "
                f"them. Received: learning_rate_schedule={self._schedule!r}"
            )


def _broken_environment(env: Environment) -> ValueError:
    name = env.spec.id if env.spec else "The environment"
    return ValueError(
        f"{name} gave observations or rewards that are not finite; nothing was learned "
        "from them. Wrap or mend the environment. Received: inf or nan"
    )
