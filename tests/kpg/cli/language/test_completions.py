from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from kpg.cli.language.completions import CompletionRecorder, TextProgress
from kpg.cli.runs import Run
from kpg.environments import TextGeneration


def vowels(prompts: Sequence[str], completions: Sequence[str]) -> list[float | None]:
    return [None if "?" in text else float(text.count("a")) for text in completions]


def completed() -> TextGeneration:
    """A text task with an iteration behind it."""
    task = TextGeneration(["x", "y"], rewards=[vowels], max_new_tokens=80, num_envs=2)
    assert task.task.judged() == []
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
    progress = TextProgress(1000, completed(), 10, stream)
    progress.set_model(SimpleNamespace(env_steps=500))
    logs = {"return": 0.25, "val_return": 0.5, "steps_per_second": 1000.0}
    progress.on_epoch_end(0, {"steps_per_second": 1.0})  # it compiles
    progress.on_epoch_end(1, {**logs, "length": 4.0, "reference_kl": 0.125})
    assert stream.getvalue().splitlines()[-3:] == [
        f"  'y' → '{'a' * 60}…'  vowels 70.00",
        "  'x' → '?\\n'  vowels nan",
        # Four of ten tokens stand before the end of a text.
        "500/1,000 steps  reward 0.250  validation 0.500  KL 0.125  400 tokens/s",
    ]
