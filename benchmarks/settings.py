"""The work that every library is given: PPO on MountainCar-v0."""

from __future__ import annotations

ENV = "MountainCar-v0"
COMMON = {"gamma": 0.99, "gae_lambda": 0.98, "learning_rate": 3e-4}
# Environments, steps of a fragment, epochs, minibatch size, steps in all.
SIZES = {
    "16x16": (16, 16, 4, 64, 200_000),
    "64x64": (64, 64, 4, 512, 400_000),
}
