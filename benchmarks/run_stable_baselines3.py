"""Trains with Stable-Baselines3; prints steps a second and the return as JSON."""

from __future__ import annotations

import json
import sys
import time

import torch
from settings import COMMON, ENV, SIZES
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize


def main(size: str, seed: int) -> None:
    torch.set_num_threads(1)  # its best: two threads are slower on networks this small
    num_envs, num_steps, num_epochs, minibatch_size, total = SIZES[size]
    env = VecNormalize(make_vec_env(ENV, num_envs, seed=seed))
    model = PPO(
        "MlpPolicy",
        env,
        n_steps=num_steps,
        n_epochs=num_epochs,
        batch_size=minibatch_size,
        ent_coef=0.0,
        seed=seed,
        device="cpu",
        **COMMON,
    )
    start = time.perf_counter()
    model.learn(total)
    speed = model.num_timesteps / (time.perf_counter() - start)
    env.training = env.norm_reward = False
    mean, _ = evaluate_policy(model, env, 20)
    print(json.dumps({"steps_per_second": speed, "return_mean": float(mean)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
