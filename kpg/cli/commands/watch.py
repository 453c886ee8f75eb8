"""`kpg watch`: play a run's episodes in a window."""

from __future__ import annotations

import argparse

from kpg.cli import playing
from kpg.cli.command_result import CommandResult
from kpg.cli.kind import kind_of
from kpg.cli.runs import Run


def run(options: argparse.Namespace) -> CommandResult:
    """Carries out the command."""
    run = Run(options.run)
    id = run.settings()["env"]
    run.model_file(options.model)  # fails before a window opens
    measured = playing.play_run(kind_of(id).stage(id, "human"), run, options)
    return playing.result({"env": id} | measured, id)
