"""What a policy writes while it is trained, with what each reward gave for it."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import keras

from kpg import checks, files
from kpg.types import Config, Logs

if TYPE_CHECKING:
    from kpg.language.generation import TextGeneration
    from kpg.language.task import Judged

_WIDTH = 60  # characters of a prompt or a completion in a table


class Completions(keras.callbacks.Callback):
    """Shows a table of completions after each epoch, and may keep all of them.

    It has the texts that a task had scored last: of the `fit`, the last iteration's; of
    its `validation_data`, those that were evaluated last.

    Args:
        env: The `kpg.environments.TextGeneration` that is trained or evaluated on.
        rows: Completions of a table, ≥ 0; those of one prompt may be neighbours.
            Defaults to 4.
        path: A JSON Lines file to which all of them are added: `epoch`, `prompt`,
            `completion`, and `rewards` by name. Defaults to `None`, no file.
        stream: Where the table is printed. Defaults to `sys.stdout`.
    """

    def __init__(
        self,
        env: TextGeneration,
        rows: int = 4,
        path: str | os.PathLike[str] | None = None,
        stream: TextIO | None = None,
    ) -> None:
        super().__init__()
        if not hasattr(env, "task"):
            wanted = "must be a text task, such as a `TextGeneration`"
            checks.refuse("env", wanted, type(env).__name__)
        self.env = env
        self.rows = checks.whole_number("rows", rows, 0)
        self.path = None if path is None else Path(path)
        self.stream = stream

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """See `keras.callbacks.Callback.on_epoch_end`."""
        judged = self.env.task.judged()
        for line in table(judged[: self.rows]):
            print(line, file=self.stream or sys.stdout, flush=True)
        if self.path is not None:
            rows = [{"epoch": epoch + 1, **_plain(row)} for row in judged]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            with (
                files.telling(self.path),
                self.path.open("a", encoding="utf-8") as file,
            ):
                file.write(text)


def table(judged: Sequence[Judged]) -> list[str]:
    """Returns the lines of a table: prompt, completion, and a column for each reward.

    Long texts are cut, and new lines in them are written as such.
    """
    if not judged:
        return []
    names = list(judged[0].rewards)
    lines = [["prompt", "completion", *names]]
    for row in judged:
        texts = [_shown(row.prompt), _shown(row.completion)]
        lines.append([*texts, *(f"{row.rewards[name]:.3g}" for name in names)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _shown(text: str) -> str:
    quoted = repr(text)[1:-1]
    return quoted if len(quoted) <= _WIDTH else f"{quoted[: _WIDTH - 1]}…"


def _plain(row: Judged) -> Config:
    """Returns what JSON has: `None` for nan, where a reward said nothing."""
    rewards = {k: None if math.isnan(own) else own for k, own in row.rewards.items()}
    return {**row._asdict(), "rewards": rewards}
