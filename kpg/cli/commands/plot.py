"""`kpg plot`: learning curves of runs, those of one algorithm and settings as one."""

from __future__ import annotations

import argparse
from pathlib import Path

from kpg import checks, files
from kpg.cli import comparing, plots
from kpg.cli.command_result import CommandResult


def run(options: argparse.Namespace) -> CommandResult:
    """Carries out the command."""
    path = Path(options.output)
    if path.suffix.lower() != ".png":
        checks.refuse("output", "must end in .png", options.output)
    env, found = comparing.groups(options.runs)
    curves = {group.label: group.curves() for group in found}
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_aside(path, lambda aside: plots.comparison(aside, curves, title=env))
    values = {"env": env, "plot": str(path), "groups": list(curves)}
    return CommandResult(values, f"{path}: {len(curves)} curves of {env}")
