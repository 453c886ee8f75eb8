"""Trains many CartPoles with kpg: `run_kpg_population.py 10 seeds | 64 settings`."""

from __future__ import annotations

import sys
from typing import Any

import keras
import numpy as np

import kpg

ITERATIONS = 384  # of 8 × 32 steps, as `kpg train CartPole-v1` takes


def make_trainer(seed: int, learning_rate: float = 1e-3, **own: Any) -> Any:
    env = kpg.make("CartPole-v1")
    policy = kpg.models.Policy(env.observation_space, env.action_space, seed=seed)
    critic = kpg.models.Critic(env.observation_space, seed=seed)
    settings: dict[str, Any] = {
        **{"num_steps": 32, "num_epochs": 20, "minibatch_size": 256, "gamma": 0.98},
        **{"gae_lambda": 0.8, "normalize_advantages": False, "normalize_rewards": True},
        **{"learning_rate_schedule": "linear", **own},
    }
    trainer = kpg.trainers.PPO(policy, critic, seed=seed, **settings)
    optimizer = keras.optimizers.Adam(learning_rate, epsilon=1e-5)
    trainer.compile(optimizer, steps_per_execution=ITERATIONS, jit_compile=True)
    return trainer


def main(count: int, what: str) -> None:
    arguments: dict[str, Any] = {"seeds": count}
    if what == "settings":
        spread = np.linspace(0.0, 1.0, count)
        settings = {"gamma": 0.95 + 0.04 * spread, "clip_range": 0.1 + 0.2 * spread}
        settings["learning_rate"] = 10.0 ** (spread - 4.0)
        lists = {name: values.tolist() for name, values in settings.items()}
        arguments = {"settings": lists}
    population = kpg.trainers.Population(make_trainer, **arguments)
    env = kpg.make("CartPole-v1", num_envs=8)
    population.fit(env, epochs=1, steps_per_epoch=ITERATIONS, verbose=0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
