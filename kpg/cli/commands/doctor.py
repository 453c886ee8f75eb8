"""`kpg doctor`: what is wrong with an environment, a run or a SavedModel, in words."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kpg.cli import algorithms, runs
from kpg.cli.command_result import CommandResult
from kpg.cli.kind import kind_of
from kpg.cli.quiet_tensorflow import import_tensorflow
from kpg.cli.runs import Run

if TYPE_CHECKING:
    from kpg.testing.finding import Finding


def run(options: argparse.Namespace) -> CommandResult:
    """Carries out the command."""
    target = Path(options.target)
    if target.is_dir() and not runs.is_run(target):
        return _saved_model(options)
    id, num_envs, run = options.target, None, None
    if target.is_dir():
        run = Run(options.target)
        settings = run.settings()
        run.model_file()
        id, num_envs = settings["env"], settings.get("preset", {}).get("num_envs")
    import_tensorflow(options.debug)
    from kpg.doctor import diagnose

    trainer = None if run is None else algorithms.load(run)
    examined = kind_of(id).to_examine(id, num_envs)
    values = {"env": id, "run": None if run is None else options.target}
    return _report(options.target, values, diagnose(examined, trainer, num_envs))


def _saved_model(options: argparse.Namespace) -> CommandResult:
    import_tensorflow(options.debug)
    from kpg.doctor import saved_models

    if not saved_models.find(options.target):
        raise ValueError(
            "A directory to examine must be a run, a SavedModel, or hold the versions "
            f"of a model. Received: {options.target}"
        )
    findings = saved_models.diagnose_saved_model(options.target)
    return _report(options.target, {"saved_model": options.target}, findings)


def _report(
    target: str, values: dict[str, object], findings: list[Finding]
) -> CommandResult:
    serious = [finding for finding in findings if not finding.note]
    values |= {
        "healthy": not serious,
        "findings": [{"name": one.name, "words": one.words} for one in serious],
        "notes": [{"name": f.name, "words": f.words} for f in findings if f.note],
    }
    lines = [f"{'note: ' if f.note else ''}{f.name}: {f.words}" for f in findings]
    lines += [] if serious else [f"{target}: healthy"]
    return CommandResult(values, "\n".join(lines), int(bool(serious)))
