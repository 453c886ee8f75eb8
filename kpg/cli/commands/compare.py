"""`kpg compare`: a table of runs, those of one algorithm and settings together."""

from __future__ import annotations

import argparse

from kpg.cli import comparing
from kpg.cli.command_result import CommandResult


def run(options: argparse.Namespace) -> CommandResult:
    """Carries out the command."""
    env, found = comparing.groups(options.runs)
    values = {"env": env, "groups": [group.values() for group in found]}
    return CommandResult(values, comparing.table(env, found))
