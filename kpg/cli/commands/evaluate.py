"""`kpg evaluate`: measure a run's best model on new episodes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from kpg.cli import presets
from kpg.cli.commands import silence, statistics, texts
from kpg.cli.commands.outcome import Outcome
from kpg.cli.runs import Run

# Copies that take part: enough to fill the graph; on the host each one costs memory.
_GRAPH_COPIES = 100
_HOST_COPIES = 16


def run(options: argparse.Namespace) -> Outcome:
    """Carries out the command."""
    run = Run(options.run)
    settings = run.settings()
    model = run.model_file()
    silence.load(options.debug)
    import kpg

    trainer = kpg.load(str(model))
    preset = {"env": settings["env"]} | settings.get("preset", {})
    measured = measure(trainer, preset, options.episodes, options.seed)
    values = {"env": settings["env"]} | measured
    return Outcome(values, f"{model}: {statistics.in_words(values)}")


def environment(preset: Mapping[str, Any], episodes: int, seed: int) -> Any:
    """Makes the environment that a policy is measured in.

    Args:
        preset: The preset's fields by name; for a Gymnasium environment `env` is
            enough.
        episodes: How many are going to be played.
        seed: The environment's.
    """
    import kpg

    id = preset["env"]
    if presets.is_text(id):
        return texts.environment(preset, None, seed)
    graph = id in kpg.environments.IN_GRAPH
    copies = min(episodes, _GRAPH_COPIES if graph else _HOST_COPIES)
    return kpg.make(id, num_envs=copies, seed=seed)


def measure(
    trainer: Any, preset: Mapping[str, Any], episodes: int, seed: int
) -> dict[str, Any]:
    """Plays episodes; see `statistics.summary` for what comes back.

    Actions are the most likely ones. Of texts, which would be the same for the same
    prompt each time, samples are judged, and `rewards` has the mean of each reward.
    """
    env = environment(preset, episodes, seed)
    text = presets.is_text(preset["env"])
    try:
        logs = trainer.evaluate(env, episodes, deterministic=not text, seed=seed)
    finally:
        env.close()
    measured = statistics.summary(
        [float(value) for value in logs["returns"]], float(logs["length"])
    )
    if text:
        names = [name for name in logs if name.startswith("reward/")]
        measured["rewards"] = {
            name.removeprefix("reward/"): float(logs[name]) for name in names
        }
    return measured
