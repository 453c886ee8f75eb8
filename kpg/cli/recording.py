"""What is written and shown while a run trains: Keras callbacks."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import ClassVar, TextIO

import keras
import rich.progress
from rich.console import Console

from kpg import files
from kpg.cli import terminal
from kpg.cli.runs import Run
from kpg.trainers.variables import holding, values_of
from kpg.types import Array, Config, Logs

_LEAST_BAR = 6  # columns, one of them blank
_DEFAULT_WIDTH = 80


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
    """A bar on a terminal, one line per epoch elsewhere, for `total_steps` in all.

    Compiling, in the first call and the first validation, is a phase of its own: the
    time that is left follows from what comes after it.
    """

    # The logs that are shown, what they are called, and how they are written.
    columns: ClassVar[dict[str, str]] = {"return": "return", "val_return": "validation"}
    number_format: ClassVar[str] = ".1f"

    def __init__(self, total_steps: int, stream: TextIO | None = None) -> None:
        super().__init__()
        self.total_steps = total_steps
        self.stream = stream or sys.stderr
        self.latest: Logs = {}
        self._bar: rich.progress.Progress | None = None
        self._epochs = 0
        self._compiled: tuple[float, int] | None = None  # seconds and steps since then

    def notes(self) -> list[str]:
        """Returns lines to show at the end of an epoch, above its numbers."""
        return []

    def speed(self) -> str:
        """Returns how fast the last epoch was."""
        return f"{self.latest['steps_per_second']:,.0f} steps/s"

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Says why nothing seems to happen at first."""
        self._epochs, self._compiled, self.latest = 0, None, {}
        console = Console(file=self.stream, width=_DEFAULT_WIDTH, height=1)
        if not self.stream.isatty() or console.is_dumb_terminal:
            print("compiling …", file=self.stream, flush=True)
            return
        self._bar = rich.progress.Progress(
            rich.progress.BarColumn(None),
            rich.progress.TextColumn("{task.description}", markup=False),
            console=console,
            expand=True,
            refresh_per_second=4,
        )
        self._bar.add_task("compiling …", total=None)
        self._fit_width()
        self._bar.start()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """See `keras.callbacks.Callback.on_train_batch_end`."""
        if self._compiled is None:
            self._compiled = time.perf_counter(), self.model.env_steps
        self._update()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """See `keras.callbacks.Callback.on_epoch_end`."""
        self.latest = dict(logs or {})
        if not self._epochs:  # which has compiled
            self.latest.pop("steps_per_second", None)
            self._compiled = time.perf_counter(), self.model.env_steps
        self._epochs += 1
        lines = self.notes()
        if self._bar is None:
            lines = [*lines, "  ".join(text for _, text in self._parts())]
        for line in lines:
            if self._bar is None:
                print(line, file=self.stream, flush=True)
            else:
                self._bar.console.print(line, markup=False, highlight=False)
        self._update()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """See `keras.callbacks.Callback.on_train_end`."""
        self._update()
        self.close()

    def close(self) -> None:
        """Leaves the terminal as it was, also if the training broke off."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = None

    def _parts(self) -> list[tuple[int, str]]:
        """Returns what there is to say, and its places when there is little room."""
        done = self.model.env_steps
        parts = [(9, f"{done:,}/{self.total_steps:,} steps")]
        for key, name in self.columns.items():
            if not math.isnan(value := float(self.latest.get(key, math.nan))):
                place = 2 if key == "val_return" else 4 + len(parts)
                parts.append((place, f"{name} {value:{self.number_format}}"))
        if "steps_per_second" in self.latest:
            parts.append((3, self.speed()))
        if self._bar is not None:
            parts.insert(0, (0, f"{min(done / self.total_steps, 1.0):4.0%}"))
            if left := self._left():
                parts.append((1, left))
        return parts

    def _left(self) -> str:
        """Returns the time that is left, once that can be told."""
        seconds, first = self._compiled or (0.0, math.inf)
        done = self.model.env_steps
        if done <= first:
            return ""
        spent = time.perf_counter() - seconds
        left = int(spent * max(self.total_steps - done, 0) / (done - first))
        return f"{left // 60}:{left % 60:02d} left"

    def _update(self) -> None:
        """Brings the bar up to date, with as much text as leaves it some room."""
        if self._bar is None:
            return
        room = self._fit_width() - _LEAST_BAR
        parts = self._parts()
        while len(text := "  ".join(text for _, text in parts)) > room and parts[1:]:
            parts.remove(max(parts))
        self._bar.update(
            self._bar.task_ids[0],
            description=text,
            completed=self.model.env_steps,
            total=self.total_steps,
        )

    def _fit_width(self) -> int:
        """Takes the width of the stream, which may have changed, and returns it."""
        width = terminal.columns(self.stream) or _DEFAULT_WIDTH
        if self._bar is not None:
            self._bar.console.width = width
        return width


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
