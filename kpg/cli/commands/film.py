"""`kpg film`: write a film of a run's episodes; no window is needed."""

from __future__ import annotations

import argparse
from pathlib import Path

from kpg import films
from kpg.cli import episode_statistics, playing
from kpg.cli.command_result import CommandResult
from kpg.cli.kind import kind_of
from kpg.cli.runs import Run


def run(options: argparse.Namespace) -> CommandResult:
    """Carries out the command."""
    run, path = Run(options.run), films.check_name(Path(options.output))
    id = run.settings()["env"]
    run.model_file(options.model)
    env = films.Filmed(kind_of(id).stage(id, "rgb_array"), options.width)
    measured = playing.play_run(env, run, options)
    films.write(path, env.frames, options.fps or env.metadata.get("render_fps"))
    values = {"env": id, "film": str(path), "bytes": path.stat().st_size} | measured
    words = episode_statistics.in_words(measured)
    return CommandResult(values, f"{path} ({values['bytes'] / 1e6:.2f} MB): {words}")
