"""`kpg list`: the tuned presets and the in-graph environments."""

from __future__ import annotations

import argparse
import dataclasses

from kpg import presets
from kpg.commands import silence
from kpg.commands.outcome import Outcome


def run(options: argparse.Namespace) -> Outcome:
    """Carries out the command."""
    silence.load(options.debug)
    from kpg.environments import IN_GRAPH

    tuned = [presets.load(name) for name in presets.names()]
    values = {
        "presets": {preset.env: dataclasses.asdict(preset) for preset in tuned},
        "in_graph": sorted(IN_GRAPH),
    }
    lines = ["Tuned presets:"]
    lines += [
        f"  {preset.env:<20} {preset.algorithm}, {preset.total_steps:,} steps"
        for preset in tuned
    ]
    lines += ["Environments inside the graph:"]
    lines += [f"  {name}" for name in sorted(IN_GRAPH)]
    lines += ["Any other Gymnasium id trains with the default settings."]
    return Outcome(values, "\n".join(lines))
