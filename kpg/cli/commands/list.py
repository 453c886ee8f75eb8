"""`kpg list`: the tuned presets and the in-graph environments."""

from __future__ import annotations

import argparse
import dataclasses

from kpg.classic_control import ENTRIES
from kpg.cli.command_result import CommandResult
from kpg.cli.kind import kinds


def run(options: argparse.Namespace) -> CommandResult:
    """Carries out the command."""
    tuned = {
        id: [kind.load(id, algorithm) for algorithm in kind.entries(id)]
        for kind in reversed(kinds())
        for id in kind.ids()
    }
    values = {
        "presets": {
            id: {entry.algorithm: dataclasses.asdict(entry) for entry in entries}
            for id, entries in tuned.items()
        },
        "in_graph": sorted(ENTRIES),
    }
    lines = ["Tuned presets (algorithm, environment steps; the first is the default):"]
    lines += [
        f"  {id:<26} "
        + "; ".join(f"{entry.algorithm}, {entry.total_steps:,}" for entry in entries)
        for id, entries in tuned.items()
    ]
    lines += ["Environments inside the graph:", *(f"  {id}" for id in sorted(ENTRIES))]
    lines += ["Any other Gymnasium id trains with the default settings."]
    return CommandResult(values, "\n".join(lines))
