from __future__ import annotations

import io
import json
import math
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kpg.cli.commands.recording import (
    CompletionRecorder,
    Progress,
    RunRecorder,
    StopOnSignal,
    judged,
)
from kpg.cli.runs import Run
from kpg.environments import TextGeneration


class FakeTrainer(SimpleNamespace):
    """Says how far it is, and saves by counting."""

    def save(self, path: str) -> None:
        self.saved = getattr(self, "saved", 0) + 1
        Path(path).write_text(str(self.saved))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def attach(callback: Any, **attributes: Any) -> FakeTrainer:
    trainer = FakeTrainer(stop_training=False, **attributes)
    callback.set_model(trainer)
    return trainer


def test_the_best_model_is_kept(tmp_path: Path) -> None:
    run = Run(tmp_path)
    recorder = RunRecorder(run)
    attach(recorder)
    validations = [-5.0, -3.0, -4.0, -3.0, math.nan]
    for epoch, validation in enumerate(validations):
        recorder.on_epoch_end(epoch, {"val_return": validation})
    recorder.on_epoch_end(5, {})
    assert [logs["epoch"] for logs in run.metrics()] == [1, 2, 3, 4, 5, 6]
    # Saved at −5, −3 and again at −3: of equals the later one.
    assert run.best_file.read_text() == "3"
    assert recorder.best == -3.0


def test_plain_progress_is_a_line_an_epoch() -> None:
    stream = io.StringIO()
    progress = Progress(1000, stream)
    attach(progress, env_steps=250)
    progress.on_train_begin()
    progress.on_train_batch_end(0)
    progress.on_epoch_end(0, {"return": math.nan, "val_return": -3.25})
    progress.on_epoch_end(1, {"return": -9.0, "steps_per_second": 1234.0})
    progress.on_train_end()
    assert stream.getvalue().splitlines() == [
        "compiling …",
        "250/1,000 steps  validation -3.2",
        "250/1,000 steps  return -9.0  1,234 steps/s",
    ]


def test_a_terminal_gets_a_bar() -> None:
    stream = Terminal()
    progress = Progress(1000, stream)
    attach(progress, env_steps=500)
    progress.on_train_begin()
    progress.on_train_batch_end(0)
    progress.on_train_end()
    *_, last = stream.getvalue().split("\r")
    assert "█" * 12 + "░" * 12 in last
    assert " 50%" in last
    assert last.endswith("left\n")


def vowels(prompts: Any, completions: Any) -> list[float | None]:
    return [None if "?" in text else float(text.count("a")) for text in completions]


def completed() -> Any:
    """A text task with an iteration behind it."""
    task = TextGeneration(["x", "y"], rewards=[vowels], max_new_tokens=80, num_envs=2)
    assert judged(task) == []
    rows = [np.array([2], np.int32)] * 2
    task.score(np.array([1, 0]), ["a" * 70, "?\n"], rows, rows, [True, False])
    return task


def test_completions_are_kept_with_their_rewards(tmp_path: Path) -> None:
    recorder = CompletionRecorder(Run(tmp_path), completed())
    recorder.on_epoch_end(2)
    lines = Run(tmp_path).completions_file.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "epoch": 3,
            "prompt": "y",
            "completion": "a" * 70,
            "rewards": {"vowels": 70.0},
        },
        {"epoch": 3, "prompt": "x", "completion": "?\n", "rewards": {"vowels": None}},
    ]


def test_progress_on_texts_shows_some() -> None:
    stream = io.StringIO()
    progress = Progress(1000, stream)
    progress.describe_texts(completed(), num_steps=10)
    attach(progress, env_steps=500)
    logs = {"return": 0.25, "val_return": 0.5, "steps_per_second": 1000.0}
    progress.on_epoch_end(0, {**logs, "length": 4.0, "reference_kl": 0.125})
    assert stream.getvalue().splitlines() == [
        f"  'y' → '{'a' * 60}…'  vowels 70.00",
        "  'x' → '?\\n'  vowels nan",
        # Four of ten tokens stand before the end of a text.
        "500/1,000 steps  reward 0.250  validation 0.500  KL 0.125  400 tokens/s",
    ]


def test_a_signal_stops_training() -> None:
    stop = StopOnSignal()
    trainer = attach(stop)
    before = signal.getsignal(signal.SIGINT)
    with stop.listening():
        stop.on_train_begin()
        assert not trainer.stop_training
        os.kill(os.getpid(), signal.SIGINT)
        stop.on_train_batch_end(0)
        assert trainer.stop_training
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert stop.received == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before
