"""`kpg doctor`: what is wrong with an environment or a run, in words."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kpg.cli import algorithms
from kpg.cli.command_result import CommandResult
from kpg.cli.kind import kind_of
from kpg.cli.quiet_tensorflow import import_tensorflow
from kpg.cli.runs import Run

if TYPE_CHECKING:
    from kpg.testing.finding import Finding


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
        "findings": [_plain(finding) for finding in serious],
        "notes": [_plain(finding) for finding in findings if finding.note],
    }
    return CommandResult(
        values, _in_words(options.target, findings), int(bool(serious))
    )


def _plain(finding: Finding) -> dict[str, str]:
    return {"name": finding.name, "words": finding.words}


def _in_words(target: str, findings: Sequence[Finding]) -> str:
    lines = [
        f"{'note: ' if finding.note else ''}{finding.name}: {finding.words}"
        for finding in findings
    ]
    if all(finding.note for finding in findings):
        lines.append(f"{target}: healthy")
    return "\n".join(lines)
