"""MountainCar-v0 solved with a Keras `Sequential`: `python examples/mountain_car.py`.

A corrected version of an article's script that could neither run nor learn; README.md
lists what was wrong with it. The exit code is 0 if the environment is solved.
"""

from __future__ import annotations

import sys

import keras
from keras.layers import Dense
from keras.models import Sequential

import kpg

THRESHOLD = -110.0  # Gymnasium's registered reward threshold


def main(
    epochs: int = 20, steps_per_epoch: int = 50, episodes: int = 100, seed: int = 0
) -> float:
    """Trains a policy and returns its mean return over new episodes."""
    keras.utils.set_random_seed(seed)

    # 64 cars at once, each with its own random start, simulated inside the graph.
    env = kpg.make("MountainCar-v0", num_envs=64, seed=seed)

    # `Policy` puts a normaliser of the observations before its backbone and one logit
    # per action after it; `Critic` puts the value of the observation there.
    layers = [Sequential([Dense(64, "tanh"), Dense(64, "tanh")]) for _ in range(2)]
    policy = kpg.models.Policy(env.observation_space, env.action_space, layers[0])
    critic = kpg.models.Critic(env.observation_space, layers[1])

    trainer = kpg.trainers.PPO(
        policy,
        critic,
        seed=seed,
        num_steps=64,
        num_epochs=4,
        minibatch_size=512,
        gamma=0.995,
        gae_lambda=0.98,
        learning_rate_schedule="linear",
        normalize_observations=True,
        normalize_rewards=True,
    )
    trainer.compile(optimizer=keras.optimizers.Adam(1e-3))
    trainer.fit(env, epochs=epochs, steps_per_epoch=steps_per_epoch, verbose=2)

    unseen = kpg.make("MountainCar-v0", num_envs=100, seed=seed + 1)
    result = trainer.evaluate(unseen, episodes=episodes)
    print(f"Mean return of {episodes} new episodes: {result['return']:.1f}")
    return float(result["return"])


def verdict(mean_return: float) -> int:
    """Says whether the environment is solved; returns the exit code."""
    solved = mean_return >= THRESHOLD
    print("Solved." if solved else f"Not solved: {THRESHOLD:g} is wanted.")
    return 0 if solved else 1


if __name__ == "__main__":
    sys.exit(verdict(main()))
