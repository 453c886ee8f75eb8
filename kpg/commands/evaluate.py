"""`kpg evaluate`: measure a run's best model on new episodes."""

from __future__ import annotations

import argparse
from typing import Any

from kpg.commands import silence, statistics
from kpg.commands.outcome import Outcome
from kpg.runs import Run

# Copies that take part: enough to fill the graph; on the host each one costs memory.
_GRAPH_COPIES = 100
_HOST_COPIES = 16


def run(options: argparse.Namespace) -> Outcome:
    """Carries out the command."""
    run = Run(options.run)
    env = run.settings()["env"]
    model = run.model_file()
    silence.load(options.debug)
    import kpg

    trainer = kpg.load(str(model))
    values = {"env": env} | measure(trainer, env, options.episodes, options.seed)
    return Outcome(values, f"{model}: {statistics.in_words(values)}")


def environment(id: str, episodes: int, seed: int) -> Any:
    """Makes the environment that a policy is measured in."""
    import kpg

    graph = id in kpg.environments.IN_GRAPH
    copies = min(episodes, _GRAPH_COPIES if graph else _HOST_COPIES)
    return kpg.make(id, num_envs=copies, seed=seed)


def measure(trainer: Any, id: str, episodes: int, seed: int) -> dict[str, Any]:
    """Plays greedily; see `statistics.summary` for what comes back."""
    env = environment(id, episodes, seed)
    try:
        logs = trainer.evaluate(env, episodes=episodes, deterministic=True, seed=seed)
    finally:
        env.close()
    return statistics.summary(
        [float(value) for value in logs["returns"]], float(logs["length"])
    )
