"""What is written and shown while a run trains: Keras callbacks."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import ClassVar, TextIO

import keras

from kpg import files
from kpg.cli.runs import Run
from kpg.trainers.variables import holding, values_of
from kpg.types import Array, Config, Logs

_BAR_WIDTH = 24


class RunRecorder(keras.callbacks.Callback):
    """Writes each epoch's logs, and the model whenever its validation is the best.

    A `Checkpoint` remembers the best, and how long the files were. To write a model
    takes as long as an epoch of a small one: a best one soon after another, and the
    last of equals, is written when training ends or a checkpoint asks.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.best = -math.inf
        self._sizes: dict[str, int] | None = {}
        self._held: list[Array] | None = None
        self._rests_until = -math.inf

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Removes the logs of epochs that are trained again, and halves of files."""
        if self._sizes is not None:
            files.sweep(self.run.directory)
            self.run.cut(self._sizes)
        self._sizes = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """See `keras.callbacks.Callback.on_epoch_end`."""
        if self.model.stop_training:
            return  # an epoch that a signal has cut; it goes on with the run
        logs = logs or {}
        value = float(logs.get("val_return", math.nan))
        # Of equals the later one, which saw more: CartPole's return has a ceiling.
        if value >= self.best:
            early = value == self.best or time.perf_counter() < self._rests_until
            self.best = value
            if early and self.model.distribute_strategy.num_replicas_in_sync == 1:
                with self.model._programs.at_base_rates():  # as `save` does
                    self._held = values_of(self.model)
            else:
                self._write()
        self.run.append_metrics({"epoch": epoch + 1, **logs})

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Writes the best model if it is not written yet."""
        self.write_held()

    def write_held(self) -> None:
        """Writes the best model if it is not written yet."""
        if self._held is not None:
            with holding(self.model, self._held):
                self._write()

    def _write(self) -> None:
        """Writes the model, and rests for twenty times as long as that takes."""
        started = time.perf_counter()
        self.model.save(str(self.run.best_file))
        self._held, ended = None, time.perf_counter()
        self._rests_until = ended + 20.0 * (ended - started)

    def get_state(self) -> Config:
        """See `kpg.trainers.Checkpoint`."""
        self.write_held()
        return {"best": self.best, "sizes": self.run.sizes()}

    def set_state(self, state: Config) -> None:
        """See `kpg.trainers.Checkpoint`.

        `best.keras` may be of an epoch after the checkpoint, whose logs are cut off.
        """
        self._sizes = state["sizes"]
        later = self.run.metrics(state["sizes"].get(self.run.metrics_file.name, 0))
        values = [logs.get("val_return") for logs in later]
        self.best = max([state["best"], *(own for own in values if own is not None)])


class Progress(keras.callbacks.Callback):
    """A bar on a terminal, one line per epoch elsewhere, for `total_steps` in all."""

    # The logs that are shown, what they are called, and how they are written.
    columns: ClassVar[dict[str, str]] = {"return": "return", "val_return": "validation"}
    number_format: ClassVar[str] = ".1f"

    def __init__(self, total_steps: int, stream: TextIO | None = None) -> None:
        super().__init__()
        self.total_steps = total_steps
        self.stream = stream or sys.stderr
        self.bar = self.stream.isatty()
        self.latest: Logs = {}
        self.started = time.perf_counter()
        self.first: int | None = None  # steps of earlier processes

    def notes(self) -> list[str]:
        """Returns lines to show at the end of an epoch, above its numbers."""
        return []

    def speed(self) -> str:
        """Returns how fast the last epoch was."""
        return f"{self.latest['steps_per_second']:,.0f} steps/s"

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """See `keras.callbacks.Callback.on_train_begin`."""
        self.started = time.perf_counter()
        # Says why nothing seems to happen at first.
        self._show("compiling …", end="\r" if self.bar else "\n")

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """See `keras.callbacks.Callback.on_epoch_begin`."""
        self.first = self.model.env_steps if self.first is None else self.first

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """See `keras.callbacks.Callback.on_train_batch_end`."""
        if self.bar:
            self._show(self._line(), end="\r")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """See `keras.callbacks.Callback.on_epoch_end`."""
        self.latest = logs or {}
        for note in self.notes():
            self._show(note, end="\n")
        self._show(self._line(), end="\r" if self.bar else "\n")

    def on_train_end(self, logs: Logs | None = None) -> None:
        """See `keras.callbacks.Callback.on_train_end`."""
        if self.bar:
            self._show(self._line(), end="\n")

    def _line(self) -> str:
        done = self.model.env_steps
        share = min(done / self.total_steps, 1.0)
        parts = [f"{done:,}/{self.total_steps:,} steps"]
        parts += [
            f"{name} {self.latest[key]:{self.number_format}}"
            for key, name in self.columns.items()
            if not math.isnan(float(self.latest.get(key, math.nan)))
        ]
        if "steps_per_second" in self.latest:
            parts.append(self.speed())
        if self.bar:
            full = round(share * _BAR_WIDTH)
            parts.insert(0, f"{'█' * full}{'░' * (_BAR_WIDTH - full)} {share:4.0%}")
            spent = time.perf_counter() - self.started
            left = spent * (self.total_steps - done) / max(done - (self.first or 0), 1)
            parts.append(f"{int(left // 60)}:{int(left % 60):02d} left")
        return "  ".join(parts)

    def _show(self, line: str, end: str) -> None:
        if self.bar:
            width = shutil.get_terminal_size().columns - 1
            line = f"\x1b[2K{line[:width]}"
        print(line, end=end, file=self.stream, flush=True)


class StopOnSignal(keras.callbacks.Callback):
    """Stops training after a first SIGINT or SIGTERM (`received`); a second ends it."""

    def __init__(self) -> None:
        super().__init__()
        self.received: int | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handles both signals in the main thread; Python allows it nowhere else."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._receive) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """See `keras.callbacks.Callback.on_train_begin`."""
        self._stop()  # a signal may have come before

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """See `keras.callbacks.Callback.on_train_batch_end`."""
        self._stop()

    def _stop(self) -> None:
        if self.received is not None:
            self.model.stop_training = True

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
        # A handler must not print: it may interrupt a print that holds the lock.
        os.write(2, b"\nstopping and saving; once more stops at once\n")
