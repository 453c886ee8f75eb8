"""`kpg doctor`: what is wrong with an environment or a run, in words."""

from __future__ import annotations

import argparse
from pathlib import Path

from kpg.cli import algorithms
from kpg.cli.command_result import CommandResult
from kpg.cli.kind import kind_of
from kpg.cli.quiet_tensorflow import import_tensorflow
from kpg.cli.runs import Run


def run(options: argparse.Namespace) -> CommandResult:
    """Carries out the command."""
    id, num_envs, run = options.target, None, None
    if Path(options.target).is_dir():
        run = Run(options.target)
        settings = run.settings()
        run.model_file()
        id, num_envs = settings["env"], settings.get("preset", {}).get("num_envs")
    import_tensorflow(options.debug)
    from kpg.doctor import diagnose

    trainer = None if run is None else algorithms.load(run)
    examined = kind_of(id).to_examine(id, num_envs)
    findings = diagnose(examined, trainer, num_envs)
    serious = [finding for finding in findings if not finding.note]
    values = {
        "env": id,
        "run": None if run is None else options.target,
        "healthy": not serious,
        "findings": [{"name": one.name, "words": one.words} for one in serious],
        "notes": [{"name": f.name, "words": f.words} for f in findings if f.note],
    }
    lines = [f"{'note: ' if f.note else ''}{f.name}: {f.words}" for f in findings]
    lines += [] if serious else [f"{options.target}: healthy"]
    return CommandResult(values, "\n".join(lines), int(bool(serious)))
