"""`kpg evaluate`: measure a run's model on new episodes."""

from __future__ import annotations

import argparse

from kpg.cli import algorithms, episode_statistics
from kpg.cli.command_result import CommandResult
from kpg.cli.kind import kind_of
from kpg.cli.quiet_tensorflow import import_tensorflow
from kpg.cli.runs import Run


def run(options: argparse.Namespace) -> CommandResult:
    """Carries out the command."""
    run = Run(options.run)
    settings, model = run.settings(), run.model_file(options.model)
    import_tensorflow(options.debug)
    chosen = {"env": settings["env"]} | settings.get("preset", {})
    measured = kind_of(settings["env"]).measure(
        algorithms.load(run, options.model),
        chosen,
        options.episodes,
        options.seed,
        options.max_steps,
    )
    words = episode_statistics.in_words(measured)
    return CommandResult({"env": settings["env"]} | measured, f"{model}: {words}")
