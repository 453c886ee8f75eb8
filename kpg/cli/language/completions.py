"""Completions of a training: written to a file and shown meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TextIO

import keras
from typing_extensions import override

from kpg.cli.recording import Progress
from kpg.cli.runs import Run
from kpg.types import Logs

if TYPE_CHECKING:
    from kpg.language.generation import TextGeneration
    from kpg.language.task import Judged

_SHOWN = 3  # completions of an epoch in the log; the file has all
_LONGEST_SHOWN = 60  # characters of a completion


def in_one_line(row: Judged) -> str:
    """Shortens a completion and its rewards to one line."""
    text = row.completion
    if len(text) > _LONGEST_SHOWN:
        text = f"{text[:_LONGEST_SHOWN]}…"
    rewards = "  ".join(f"{name} {one:.2f}" for name, one in row.rewards.items())
    return f"  {row.prompt!r} → {text!r}  {rewards}"


class CompletionRecorder(keras.callbacks.Callback):
    """Writes the completions of the validation `env` and their rewards each epoch."""

    def __init__(self, run: Run, env: TextGeneration) -> None:
        super().__init__()
        self.run = run
        self.env = env

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """See `keras.callbacks.Callback.on_epoch_end`."""
        rows = self.env.task.judged()
        self.run.append_completions(
            {"epoch": epoch + 1} | row._asdict() for row in rows
        )


class TextProgress(Progress):
    """Progress in rewards and tokens, with a few completions of `env` each epoch.

    A completion has room for `num_steps` tokens.
    """

    columns: ClassVar[dict[str, str]] = {
        "return": "reward",
        "val_return": "validation",
        "reference_kl": "KL",
    }
    number_format = ".3f"

    def __init__(
        self,
        total_steps: int,
        env: TextGeneration,
        num_steps: int,
        stream: TextIO | None = None,
    ) -> None:
        super().__init__(total_steps, stream)
        self.env = env
        self.num_steps = num_steps

    @override
    def notes(self) -> list[str]:
        return [in_one_line(row) for row in self.env.task.judged()[:_SHOWN]]

    @override
    def speed(self) -> str:
        """Returns tokens per second, without those after the end of a text."""
        used = self.latest.get("length", float("nan")) / self.num_steps
        return f"{self.latest['steps_per_second'] * used:,.0f} tokens/s"
