"""`kpg serve`: answer requests for a policy over gRPC, until a signal comes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from kpg.cli import runs
from kpg.cli.command_result import CommandResult, UsageError
from kpg.cli.quiet_tensorflow import import_tensorflow
from kpg.cli.runs import Run, to_json

if TYPE_CHECKING:
    from kpg.export.serving.server import Server


def run(options: argparse.Namespace) -> CommandResult:
    """Carries out the command; prints as soon as the server answers."""
    if runs.is_run(options.directory):
        commands = runs.to_serve(
            options.directory, Run(options.directory).settings()["env"]
        )
        raise UsageError(
            f"A run is exported first: type {commands}. Received: {options.directory}"
        )
    import_tensorflow(options.debug)
    from kpg.export.serving import server

    server.serve(
        options.directory,
        port=options.port,
        rest_api_port=options.rest_api_port or 0,
        model_name=options.model_name,
        on_ready=_announce_json if options.json else server.announce,
    )
    return CommandResult({}, "")


def _announce_json(server: Server) -> None:
    values = {
        "address": server.address,
        "model_name": server.model.name,
        "version": server.model.states()[0].version,
    }
    print(to_json(values), flush=True)
