"""`kpg serve`: answer requests for a policy over gRPC, until a signal comes."""

from __future__ import annotations

import argparse
from typing import Any

from kpg.cli.commands import silence
from kpg.cli.commands.outcome import Outcome
from kpg.cli.runs import to_json


def run(options: argparse.Namespace) -> Outcome:
    """Carries out the command; what it prints, it prints as soon as it answers."""
    silence.load(options.debug)
    from kpg.export.serving import server

    server.serve(
        options.directory,
        port=options.port,
        rest_api_port=options.rest_api_port or 0,
        model_name=options.model_name,
        on_ready=_announce_json if options.json else server.announce,
    )
    return Outcome({}, "")


def _announce_json(server: Any) -> None:
    values = {
        "address": server.address,
        "model_name": server.model.name,
        "version": server.model.states()[0].version,
    }
    print(to_json(values), flush=True)
