"""Measures what experience replay gains: CartPole-v1, equal environment steps.

    python benchmarks/replay.py

Actor-critic with V-trace learns from each fragment once, twice, or once and from one
older fragment. A cell is the mean of the seeds and its 95 % interval.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from page import table

import kpg
from kpg.results import margin

WAYS: dict[str, dict[str, Any]] = {
    "each fragment once": {},
    "each fragment twice": {"num_epochs": 2},
    "and 1 of the last 8": {"replay": kpg.trainers.Replay(8, ratio=1)},
}
NUM_ENVS, NUM_STEPS, ENOUGH = 8, 16, 400.0
HEAD = "learns from | rate | return of all episodes | steps to 400 | seeds without 400"


def returns_of(
    way: str, rate: float, seeds: int, epochs: int, iterations: int
) -> np.ndarray[Any, Any]:
    """Returns each seed's mean return in each epoch, `[seeds, epochs]`."""
    env = kpg.make("CartPole-v1", num_envs=NUM_ENVS)

    def make_trainer(seed: int) -> kpg.trainers.Trainer:
        trainer = kpg.trainers.ActorCritic(
            kpg.models.Policy(env.observation_space, env.action_space, seed=seed),
            kpg.models.Critic(env.observation_space, seed=seed),
            seed=seed,
            num_steps=NUM_STEPS,
            advantage=kpg.advantages.VTrace(),
            **WAYS[way],
        )
        trainer.compile(keras.optimizers.Adam(rate), jit_compile=True)
        return trainer

    population = kpg.trainers.Population(make_trainer, seeds)
    options: dict[str, Any] = {"epochs": epochs, "steps_per_epoch": iterations}
    found = population.fit(env, verbose=0, **options).history["return"]
    return np.asarray(found)


def of_seeds(numbers: Sequence[float], digits: int = 0) -> str:
    """Returns a mean and its interval in words."""
    own = [number for number in numbers if not math.isnan(number)]
    if len(own) < 2:
        return "–"
    return f"{np.mean(own):,.{digits}f} ± {margin(own):,.{digits}f}"


def main() -> None:
    """Does what the command line asks for."""
    parser = argparse.ArgumentParser(description="What replay gains.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3])
    asked = parser.parse_args()
    steps, rows = NUM_ENVS * NUM_STEPS * asked.iterations, []
    for rate in asked.rates:
        for way in WAYS:
            returns = returns_of(way, rate, asked.seeds, asked.epochs, asked.iterations)
            enough = returns >= ENOUGH
            first = np.where(enough.any(1), steps * (1 + enough.argmax(1)), np.nan)
            late = np.nanmean(returns, axis=1).tolist()
            rows.append([way, f"{rate:g}", of_seeds(late), of_seeds(first.tolist())])
            rows[-1].append(str(int(np.isnan(first).sum())))
            print(*rows[-1], sep=" | ", flush=True)
    print("\n".join(table(HEAD.replace(" | ", "|"), rows)))


if __name__ == "__main__":
    main()
