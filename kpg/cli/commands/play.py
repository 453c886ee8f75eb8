"""`kpg play`: play episodes or complete prompts; no TensorFlow with a server."""

from __future__ import annotations

import argparse

from kpg.cli import client_flags
from kpg.cli.command_result import CommandResult
from kpg.cli.kind import player_of


def run(options: argparse.Namespace) -> CommandResult:
    """Carries out the command."""
    client_flags.check(options)
    return player_of(options).play(options)
