"""What makes a training the one that it is, and refuses another one's checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import keras

from kpg.trainers.running.engine import Engine
from kpg.trainers.running.saving import SavedTrainer
from kpg.types import Config, Nest


def of(trainer: SavedTrainer, engine: Engine, settings: Config) -> Config:
    """Returns by name what must stay the same, in plain values."""
    env = engine.whole  # of all workers, of which there may be another number
    weights = [f"{list(own.shape)} {own.dtype}" for own in trainer.variables]
    optimizers = [_of_optimizer(own) for own, _ in engine.training.optimized]
    values = {
        "algorithm": type(trainer).__name__,
        **trainer.settings.get_config(),
        "models": weights,
        "optimizers": optimizers,
        "environment": env.name,
        "observation_space": str(env.observation_space),
        "action_space": str(env.action_space),
        "max_episode_steps": env.max_episode_steps,
        "num_envs": env.num_envs,
        "environment seed": env.seed,
        **settings,
    }
    return {name: json.dumps(own, default=str) for name, own in values.items()}


def refuse_other(saved: Config, now: Config, path: Path) -> None:
    """Raises a `ValueError` about what is not as in a checkpoint."""
    names = [name for name in now if saved.get(name) != now[name]]
    if names:
        long = ("models", "optimizers")
        told = [
            f"other {name}"
            if name in long
            else f"{name}={now[name]}, but there {saved.get(name)}"
            for name in names
        ]
        _refuse(path, "; ".join(told))


def refuse_other_seed(trainer: SavedTrainer, saved: int, path: Path) -> None:
    """Raises a `ValueError` if a trainer was given another seed."""
    if trainer.seed is not None and trainer.effective_seed != saved:
        _refuse(path, f"seed={trainer.seed}, but there {saved}")


def refuse_other_rates(engine: Engine, saved: Config, path: Path) -> None:
    """Raises a `ValueError` if optimizers do not have the rates that they began with.

    Those of a trainer that was loaded from the file are what they were there.
    """
    known = [saved[name] for name in ("first_rates", "base_rates", "rates")]
    if engine.rates not in known:
        now, then = (
            " and ".join(f"{rate:g}" for rate in rates)
            for rates in (engine.rates, known[0])
        )
        _refuse(path, f"learning rate {now}, but there {then}")


def _refuse(path: Path, received: str) -> None:
    raise ValueError(
        "A training goes on with what it began with: make the trainer and call `fit` "
        "as before, or choose another directory to train anew. Received: "
        f"{received}, in {path}"
    )


def _of_optimizer(optimizer: keras.optimizers.Optimizer) -> Nest:
    """Returns class and arguments without the name, and without rates, which change."""

    def without(node: Nest) -> Nest:
        if not isinstance(node, dict):
            return node
        rate = node.get("learning_rate")
        left_out = {"name"} if isinstance(rate, dict) else {"name", "learning_rate"}
        kept = {k: v for k, v in node.items() if k not in left_out}
        return {k: without(v) for k, v in kept.items() if not k.endswith("module")}

    return without(keras.optimizers.serialize(optimizer))
