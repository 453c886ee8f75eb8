"""Trains with kpg; prints steps a second and the final return as JSON."""

from __future__ import annotations

import json
import sys

import keras
from settings import COMMON, ENV, SIZES

import kpg


def main(size: str, seed: int) -> None:
    num_envs, num_steps, num_epochs, minibatch_size, total = SIZES[size]
    env = kpg.make(ENV, num_envs=num_envs, seed=seed)
    policy = kpg.models.Policy(env.observation_space, env.action_space, seed=seed)
    critic = kpg.models.Critic(env.observation_space, seed=seed)
    trainer = kpg.trainers.PPO(
        policy,
        critic,
        seed=seed,
        num_steps=num_steps,
        num_epochs=num_epochs,
        minibatch_size=minibatch_size,
        gamma=COMMON["gamma"],
        gae_lambda=COMMON["gae_lambda"],
        normalize_observations=True,
        normalize_rewards=True,
    )
    rate = COMMON["learning_rate"]
    iterations = 5 * total // (num_envs * num_steps)  # kpg needs more to be timed
    trainer.compile(
        keras.optimizers.Adam(rate, epsilon=1e-5), steps_per_execution=iterations // 10
    )
    trainer.fit(env, epochs=10, steps_per_epoch=iterations // 10, verbose=0)
    result = trainer.evaluate(kpg.make(ENV, num_envs=100, seed=seed + 1), 100)
    speed = trainer.env_steps / trainer.train_seconds
    print(json.dumps({"steps_per_second": speed, "return_mean": result["return"]}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
