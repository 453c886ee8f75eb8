"""`kpg serve`: answer requests for models over gRPC and REST, until a signal comes."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from kpg.cli import runs, serving_flags
from kpg.cli.command_result import CommandResult, UsageError, usage_errors
from kpg.cli.quiet_tensorflow import import_tensorflow
from kpg.cli.runs import Run, to_json
from kpg.export.serving.settings import OWN, Settings

if TYPE_CHECKING:
    from kpg.export.serving.server import Server


def run(options: argparse.Namespace) -> CommandResult:
    """Carries out the command; prints as soon as the server answers."""
    directory = options.directory
    if directory is not None and runs.is_run(directory):
        commands = runs.to_serve(directory, Run(directory).settings()["env"])
        raise UsageError(
            f"A run is exported first: type {commands}. Received: {directory}"
        )
    if not (directory or options.model_base_path or options.model_config_file):
        raise UsageError(
            "What to serve is missing: type a directory, --model_base_path=… or "
            "--model_config_file=…"
        )
    settings = serving_flags.settings_of(options)
    with usage_errors():
        Settings(**settings)
    if options.engine != "kpg":
        _become_tensorflow_serving(options)
    import_tensorflow(options.debug)
    from kpg.export.serving import server

    server.serve(
        directory,
        on_ready=_announce_json if options.json else server.announce,
        **settings,
    )
    return CommandResult({}, "")


def _become_tensorflow_serving(options: argparse.Namespace) -> None:
    """Makes this process the real server, with the same flags."""
    program = shutil.which(options.engine)
    if program is None:
        raise UsageError(
            f"There is no {options.engine} on the PATH; install it, or leave out "
            "--engine"
        )
    own = sorted(OWN & set(serving_flags.settings_of(options)))
    if own:
        raise UsageError(
            f"{options.engine} has no such flags; leave them out. Received: "
            f"{', '.join(f'--{name}' for name in own)}"
        )
    flags = serving_flags.typed_flags(options)
    if options.directory is not None:
        flags.append(f"--model_base_path={Path(options.directory).absolute()}")
    os.execv(program, [options.engine, *flags])


def _announce_json(server: Server) -> None:
    models = {
        name: [state.version for state in model.states()]
        for name, model in server.catalog.models.items()
    }
    name, versions = next(iter(models.items()), ("", []))
    values = {
        "address": server.address,
        "rest_address": server.rest_address,
        "model_name": name,
        "version": versions[0] if versions else None,
        "models": models,
    }
    print(to_json(values), flush=True)
