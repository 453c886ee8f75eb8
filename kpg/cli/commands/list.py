"""`kpg list`: the tuned presets and the in-graph environments."""

from __future__ import annotations

import argparse
import dataclasses

from kpg.cli import presets
from kpg.cli.commands import silence
from kpg.cli.commands.outcome import Outcome


def run(options: argparse.Namespace) -> Outcome:
    """Carries out the command."""
    silence.load(options.debug)
    from kpg.environments import IN_GRAPH

    tuned = {
        name: [presets.load(name, entry) for entry in presets.algorithms(name)]
        for name in [*presets.names(), *presets.texts()]
    }
    values = {
        "presets": {
            name: {entry.algorithm: dataclasses.asdict(entry) for entry in entries}
            for name, entries in tuned.items()
        },
        "in_graph": sorted(IN_GRAPH),
    }
    lines = ["Tuned presets (algorithm, environment steps; the first is the default):"]
    lines += [
        f"  {name:<26} "
        + "; ".join(f"{entry.algorithm}, {entry.total_steps:,}" for entry in entries)
        for name, entries in tuned.items()
    ]
    lines += ["Environments inside the graph:"]
    lines += [f"  {name}" for name in sorted(IN_GRAPH)]
    lines += ["Any other Gymnasium id trains with the default settings."]
    return Outcome(values, "\n".join(lines))
