"""`kpg film`: write a film of a run's episodes; no window is needed."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from kpg import films
from kpg.cli import playing
from kpg.cli.command_result import CommandResult
from kpg.cli.kind import kind_of
from kpg.cli.runs import Run


def run(options: argparse.Namespace) -> CommandResult:
    """Carries out the command."""
    run, path = Run(options.run), films.check_name(Path(options.output))
    id = run.settings()["env"]
    run.model_file(options.model)
    # Else SDL, which draws classic control, looks for a display and says it has none.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    env = films.Filmed(kind_of(id).stage(id, "rgb_array"), options.width)
    try:
        measured = playing.play_run(env, run, options)
    except KeyboardInterrupt:
        if not env.frames:
            raise
        measured = {"episodes": 0, "interrupted": True}
    films.write(path, env.frames, options.fps or env.metadata.get("render_fps"))
    size = path.stat().st_size
    values = {"env": id, "film": str(path), "bytes": size} | measured
    return playing.result(values, f"{path} ({size / 1e6:.2f} MB)")
