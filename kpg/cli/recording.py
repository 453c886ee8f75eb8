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
from typing import Any, TextIO

import keras

from kpg.cli.runs import Run

_BAR_WIDTH = 24
_SHOWN = 3  # completions of an epoch in the log; the file has all
_LONGEST_SHOWN = 60  # characters of a completion


class RunRecorder(keras.callbacks.Callback):
    """Writes the logs of each epoch, and the model whenever its validation is a best.

    Attributes:
        best: The best `val_return` so far, or −∞.

    Args:
        run: The run directory.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.best = -math.inf

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the logs to `metrics.jsonl` and perhaps replaces `best.keras`."""
        logs = logs or {}
        self.run.append_metrics({"epoch": epoch + 1} | logs)
        value = float(logs.get("val_return", math.nan))
        # Of equals the later one, which saw more: CartPole's return has a ceiling.
        if value >= self.best:
            self.best = value
            self.model.save(str(self.run.best_file))


class CompletionRecorder(keras.callbacks.Callback):
    """Writes what was completed in the validation of each epoch, and how it was judged.

    Args:
        run: The run directory.
        env: The validation's text task.
    """

    def __init__(self, run: Run, env: Any) -> None:
        super().__init__()
        self.run = run
        self.env = env

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the epoch's completions to `completions.jsonl`."""
        rows = judged(self.env)
        self.run.append_completions({"epoch": epoch + 1} | row for row in rows)


def judged(env: Any) -> list[dict[str, Any]]:
    """Returns what a text task had completed last: prompt, completion and rewards."""
    if env.completed is None:
        return []
    from kpg.rewards import evaluate

    reward = env.task.reward
    sums = evaluate(reward.rewards, reward.weights, *env.completed).sums()
    pairs = zip(env.completed.prompts, env.completed.completions, strict=True)
    return [
        {
            "prompt": prompt,
            "completion": completion,
            "rewards": {name: float(values[row]) for name, values in sums.items()},
        }
        for row, (prompt, completion) in enumerate(pairs)
    ]


class Progress(keras.callbacks.Callback):
    """A bar on a terminal, a line an epoch elsewhere.

    Args:
        total_steps: Environment steps of the whole training.
        stream: Where it is shown. Defaults to standard error.
    """

    def __init__(self, total_steps: int, stream: TextIO | None = None) -> None:
        super().__init__()
        self.total_steps = total_steps
        self.stream = stream or sys.stderr
        self.bar = self.stream.isatty()
        self.latest: dict[str, Any] = {}
        self.started = time.perf_counter()
        self._texts: Any = None
        self._tokens_per_step = 1.0

    def describe_texts(self, env: Any, num_steps: int) -> None:
        """Shows rewards, tokens, and a few completions after each epoch.

        Args:
            env: The text task whose last completions are shown.
            num_steps: Tokens that a completion has room for.
        """
        self._texts = env
        self._tokens_per_step = 1.0 / num_steps

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Says why nothing seems to happen at first."""
        self.started = time.perf_counter()
        self._show("compiling …", end="\r" if self.bar else "\n")

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Moves the bar."""
        if self.bar:
            self._show(self._line(), end="\r")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes over the new numbers."""
        self.latest = logs or {}
        for row in judged(self._texts)[:_SHOWN] if self._texts else ():
            self._show(in_one_line(row), end="\n")
        self._show(self._line(), end="\r" if self.bar else "\n")

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leaves the last state of the bar standing."""
        if self.bar:
            self._show(self._line(), end="\n")

    def _line(self) -> str:
        done = self.model.env_steps
        share = min(done / self.total_steps, 1.0)
        full = round(share * _BAR_WIDTH)
        parts = [f"{done:,}/{self.total_steps:,} steps"]
        parts += [
            f"{name} {self.latest[key]:{'.3f' if self._texts else '.1f'}}"
            for key, name in self._columns()
            if not math.isnan(float(self.latest.get(key, math.nan)))
        ]
        if "steps_per_second" in self.latest:
            parts.append(self._speed())
        if self.bar:
            parts.insert(0, f"{'█' * full}{'░' * (_BAR_WIDTH - full)} {share:4.0%}")
            parts.append(self._time_left(share))
        return "  ".join(parts)

    def _columns(self) -> tuple[tuple[str, str], ...]:
        """Returns the logs that are shown, and what they are called."""
        if self._texts is None:
            return ("return", "return"), ("val_return", "validation")
        return (
            ("return", "reward"),
            ("val_return", "validation"),
            ("reference_kl", "KL"),
        )

    def _speed(self) -> str:
        """Says how fast it goes; behind the end of a text there are no tokens."""
        speed = self.latest["steps_per_second"]
        if self._texts is None:
            return f"{speed:,.0f} steps/s"
        tokens = speed * self.latest.get("length", math.nan) * self._tokens_per_step
        return f"{tokens:,.0f} tokens/s"

    def _time_left(self, share: float) -> str:
        spent = time.perf_counter() - self.started
        left = spent / share - spent if share else 0.0
        return f"{int(left // 60)}:{int(left % 60):02d} left"

    def _show(self, line: str, end: str) -> None:
        if self.bar:
            width = shutil.get_terminal_size().columns - 1
            line = f"\x1b[2K{line[:width]}"
        print(line, end=end, file=self.stream, flush=True)


def in_one_line(row: dict[str, Any]) -> str:
    """Writes a completion and its rewards for people, shortened."""
    text = row["completion"]
    if len(text) > _LONGEST_SHOWN:
        text = f"{text[:_LONGEST_SHOWN]}…"
    rewards = "  ".join(f"{name} {one:.2f}" for name, one in row["rewards"].items())
    return f"  {row['prompt']!r} → {text!r}  {rewards}"


class StopOnSignal(keras.callbacks.Callback):
    """Stops training after the first SIGINT or SIGTERM; the second one ends it at once.

    Attributes:
        received: The signal's number, or `None`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.received: int | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Takes over both signals, where Python allows it: in the main thread."""
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

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Stops a training that was interrupted before it began."""
        self._stop()

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Stops between two executions."""
        self._stop()

    def _stop(self) -> None:
        if self.received is not None:
            self.model.stop_training = True

    def _receive(self, number: int, frame: Any) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
        # A handler must not print: it may interrupt a print that holds the lock.
        os.write(2, b"\nstopping and saving; once more stops at once\n")
