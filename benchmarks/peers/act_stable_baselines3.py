"""Acts by hand with Stable-Baselines3; prints microseconds of CPU by case, as JSON."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import torch
from acting_cases import BATCH, ROW, microseconds
from stable_baselines3 import PPO

torch.set_num_threads(1)
model = PPO("MlpPolicy", gym.make("CartPole-v1"), device="cpu", seed=0)
many = np.repeat(ROW[np.newaxis], BATCH, axis=0)
print(
    json.dumps(
        {
            "one, greedy": microseconds(lambda: model.predict(ROW, deterministic=True)),
            "one, sampled": microseconds(lambda: model.predict(ROW)),
            f"{BATCH}, greedy": microseconds(
                lambda: model.predict(many, deterministic=True)
            ),
        }
    )
)
