"""Trains with Stable-Baselines3."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from measuring import EPISODE_SEED, Job, Stopwatch, finish, play, read_job
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}


class Pauses(BaseCallback):
    """Stops the watch after each chunk; a rollout starts when an update has ended."""

    def __init__(self, watch: Stopwatch, act: Any) -> None:
        super().__init__()
        self.watch = watch
        self.act = act
        self.rollouts = 0

    def _on_training_start(self) -> None:
        self.watch.start()

    def _on_rollout_start(self) -> None:
        if self.rollouts and self.rollouts % self.watch.job["chunk"] == 0:
            self.pause()
            self.watch.start()
        self.rollouts += 1

    def _on_training_end(self) -> None:
        self.pause()

    def _on_step(self) -> bool:
        return True

    def pause(self) -> None:
        job = self.watch.job
        self.watch.stop(job["chunk"] * job["num_envs"] * job["num_steps"])
        seed = EPISODE_SEED - 1 - job["seed"]
        self.watch.judge(lambda: float(np.mean(play(job["env"], self.act, seed))))


def main(job: Job, ppo: Any = PPO, **policy_kwargs: Any) -> None:
    torch.set_num_threads(job["threads"])
    watch = Stopwatch(job)
    env: Any = make_vec_env(job["env"], job["num_envs"], seed=job["seed"])
    if job["normalize"]:
        env = VecNormalize(env, gamma=job["gamma"])
    linear = job["learning_rate_schedule"] == "linear"
    rate = job["learning_rate"]
    model = ppo(
        "MlpPolicy",
        env,
        n_steps=job["num_steps"],
        n_epochs=job["num_epochs"],
        batch_size=job["minibatch_size"],
        learning_rate=(lambda left: rate * left) if linear else rate,
        policy_kwargs={
            "net_arch": {"pi": job["hidden_units"], "vf": job["hidden_units"]},
            **policy_kwargs,
        },
        device="cpu",
        **{name: job[name] for name in SHARED},
    )

    def act(observations: Any) -> Any:
        if job["normalize"]:
            observations = env.normalize_obs(observations)
        return model.predict(observations, deterministic=True)[0]

    rows = job["num_envs"] * job["num_steps"]
    model.learn(job["chunk"] * job["chunks"] * rows, Pauses(watch, act))
    finish(watch, act)


SHARED = (
    "gamma gae_lambda clip_range ent_coef vf_coef max_grad_norm target_kl seed"
).split()


if __name__ == "__main__":
    settings = read_job()
    main(
        settings,
        activation_fn=ACTIVATIONS[settings["activation"]],
        log_std_init=settings["log_std_init"],
        ortho_init=settings["orthogonal"],
    )
